package main

import (
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func goBuild(out, pkg, ldflags string) {
	log.Printf("go build %s", pkg)
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w "+ldflags, "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	check(cmd.Run())
}

func command(name string, args ...string) {
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		log.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
}

func output(name string, args ...string) string {
	b, err := exec.Command(name, args...).Output()
	check(err)
	return string(b)
}

func write(name string, mode os.FileMode, content string) {
	check(os.MkdirAll(filepath.Dir(name), 0o755))
	check(os.WriteFile(name, []byte(content), mode))
}

func copyFile(to, from string) {
	b, err := os.ReadFile(from)
	check(err)
	write(to, 0o644, string(b))
}

func exists(p string) bool { _, err := os.Lstat(p); return err == nil }

func check(err error) {
	if err != nil {
		log.Output(2, err.Error())
		os.Exit(1)
	}
}
