package main

import (
	"log"
	"os"
	"path/filepath"

	imageutils "k8s.io/kubernetes/test/utils/image"
)

func (w work) agnhost(testImages string) {
	goBuild(w.dir("agnhost", "agnhost"), "k8s.io/kubernetes/test/images/agnhost", "-X main.Version="+version(imageutils.Agnhost))
	check(os.Symlink("agnhost", w.dir("agnhost", "agnhost-2")))
	check(os.MkdirAll(w.dir("agnhost", "uploads"), 0o755))
	copyFile(w.dir("agnhost", "localhost.crt"), filepath.Join(testImages, "agnhost/porter/localhost.crt"))
	copyFile(w.dir("agnhost", "localhost.key"), filepath.Join(testImages, "agnhost/porter/localhost.key"))
	// The user that the supplemental-groups specs expect in the image.
	write(w.dir("agnhost", "etc/passwd"), 0o644, passwd+"user-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh\n")
	write(w.dir("agnhost", "etc/group"), 0o644, group+"user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n")
	check(os.MkdirAll(w.dir("agnhost", "home/user-defined-in-image"), 0o755))
}

// pages are what the kitten and nautilus images serve.
func (w work) pages(testImages string) {
	for _, n := range []string{"kitten", "nautilus"} {
		for _, f := range []string{n + ".jpg", "data.json"} {
			copyFile(w.dir(n, f), filepath.Join(testImages, n, "html", f))
		}
	}
}

func (w work) noNewPrivileges() {
	goBuild(w.dir("nonewprivs", "usr/local/bin/nnp"), "k8s.io/kubernetes/test/images/nonewprivs", "")
	check(os.Chmod(w.dir("nonewprivs", "usr/local/bin/nnp"), 0o755|os.ModeSetuid|os.ModeSetgid))
}

func (w work) servers() {
	goBuild(w.dir("sample-apiserver", "sample-apiserver"), "k8s.io/sample-apiserver", "")
	goBuild(w.dir("etcd", "usr/local/bin/etcd"), "go.etcd.io/etcd/server/v3", "")
}

func (w work) pause() {
	log.Print("cc: pause")
	write(w.dir("pause.c"), 0o644, pauseC)
	check(os.MkdirAll(w.dir("pause"), 0o755))
	command("gcc", "-Os", "-static", "-s", "-o", w.dir("pause", "pause"), w.dir("pause.c"))
}

const pauseC = `#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static void down(int s) { exit(0); }
static void reap(int s) { while (waitpid(-1, NULL, WNOHANG) > 0); }
int main(int argc, char **argv)
{
	struct sigaction a = { .sa_handler = down }, r = { .sa_handler = reap, .sa_flags = SA_NOCLDSTOP };
	if (argc > 1) { puts("pause"); return 0; }
	sigaction(SIGINT, &a, NULL);
	sigaction(SIGTERM, &a, NULL);
	sigaction(SIGCHLD, &r, NULL);
	for (;;) pause();
}
`
