// Command images builds the container images that the tests and the demonstration use, under the names of
// the well-known ones, without a registry and without another container tool: from Debian packages, fetched
// by apt-get and unpacked (nothing is installed and no package script runs), and from Go programs of this
// repository. Each becomes an archive that `clipper image import` and `clipper sandbox image-load` read.
//
//	go run ./test/images [-o DIR] [NAME...]
//
// An archive that is newer than what it is made from is left alone. Needs root, for the owners of files.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"clipper/image/archive"
	"clipper/image/build"
	"clipper/image/reference"
)

func main() {
	out := flag.String("o", ".cache/images", "directory of the archives")
	list := flag.Bool("list", false, "print the names and what they stand for, build nothing")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: images [-o DIR] [NAME...]\n\nBuilds image archives; all of them if no name is given. Names: %s\n\n", strings.Join(recipeNames(), " "))
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := run(*out, *list, flag.Args()); err != nil {
		fmt.Fprintf(os.Stderr, "images: %v\n", err)
		os.Exit(1)
	}
}

func run(out string, list bool, names []string) error {
	for _, n := range names {
		if !slices.Contains(recipeNames(), n) {
			return fmt.Errorf("no image %q; there are %s", n, strings.Join(recipeNames(), ", "))
		}
	}
	if list {
		for _, r := range recipes {
			fmt.Printf("%-16s %s\n", r.name, strings.Join(r.refs, " "))
		}
		return nil
	}
	if os.Geteuid() != 0 {
		return errors.New("run as root: files of an image have owners")
	}
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	b := &builder{source: root, out: out, work: filepath.Join(out, "work"), debs: filepath.Join(filepath.Dir(filepath.Clean(out)), "debs")}
	defer os.RemoveAll(b.work)
	for _, r := range recipes {
		if len(names) > 0 && !slices.Contains(names, r.name) {
			continue
		}
		if err := b.image(r); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return nil
}

func moduleRoot() (string, error) {
	b, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "clipper").Output()
	if err != nil {
		return "", fmt.Errorf("find the module; run this inside the repository: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

func recipeNames() []string {
	var names []string
	for _, r := range recipes {
		names = append(names, r.name)
	}
	return names
}

// A builder makes images, keeping layers that several share.
type builder struct {
	source, out, work, debs string
	busybox                 v1.Layer
}

func (b *builder) image(r recipe) error {
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return err
	}
	stamp, err := b.stamp(r)
	if err != nil {
		return err
	}
	archivePath, stampPath := filepath.Join(b.out, r.name+".tar"), filepath.Join(b.out, r.name+".stamp")
	if old, err := os.ReadFile(stampPath); err == nil && string(old) == stamp {
		if _, err := os.Stat(archivePath); err == nil {
			return nil
		}
	}
	start := time.Now()
	layers, err := b.layers(r)
	if err != nil {
		return err
	}
	img, err := build.Image(nil, r.spec, layers...)
	if err != nil {
		return err
	}
	var names []string
	for _, n := range r.refs {
		ref, err := reference.Parse(n)
		if err != nil {
			return err
		}
		names = append(names, ref.String())
	}
	if err := archive.WriteFile(archivePath, []archive.Entry{{Names: names, Image: img}}); err != nil {
		return err
	}
	if err := os.WriteFile(stampPath, []byte(stamp), 0o644); err != nil {
		return err
	}
	fmt.Printf("%-16s %s (%.1f s)\n", r.name, strings.Join(r.refs, " "), time.Since(start).Seconds())
	return nil
}

// layers: the shell that Debian's images bring is busybox here, one layer that all share.
func (b *builder) layers(r recipe) ([]v1.Layer, error) {
	var layers []v1.Layer
	if !r.scratch {
		base, err := b.busyboxLayer()
		if err != nil {
			return nil, err
		}
		layers = append(layers, base)
	}
	if len(r.packages)+len(r.programs) == 0 && r.files == "" {
		return layers, nil
	}
	root := filepath.Join(b.work, r.name)
	if err := b.fill(root, r); err != nil {
		return nil, err
	}
	own, err := build.Layer(root, filepath.Join(b.work, r.name+".layer"), build.RootOwned)
	if err != nil {
		return nil, err
	}
	return append(layers, own), nil
}

func (b *builder) fill(root string, r recipe) error {
	if err := os.RemoveAll(root); err != nil {
		return err
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	if len(r.packages) > 0 {
		if err := skeleton(root); err != nil {
			return err
		}
		if err := b.unpackPackages(root, r.packages, true); err != nil {
			return err
		}
	}
	for target, pkg := range r.programs {
		if err := b.goBuild(filepath.Join(root, target), pkg); err != nil {
			return err
		}
	}
	if r.files != "" {
		if err := copyFiles(root, r.files); err != nil {
			return err
		}
	}
	if r.finish != nil {
		return r.finish(root)
	}
	return nil
}

func (b *builder) busyboxLayer() (v1.Layer, error) {
	if b.busybox != nil {
		return b.busybox, nil
	}
	root := filepath.Join(b.work, "busybox")
	if err := skeleton(root); err != nil {
		return nil, err
	}
	if err := b.unpackPackages(root, []string{"busybox-static"}, false); err != nil {
		return nil, err
	}
	applets, err := exec.Command(filepath.Join(root, "usr/bin/busybox"), "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("busybox --list: %w", err)
	}
	for a := range strings.FieldsSeq(string(applets)) {
		path := filepath.Join(root, "usr/bin", a)
		if err := os.Symlink("busybox", path); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, err
		}
	}
	b.busybox, err = build.Layer(root, filepath.Join(b.work, "busybox.layer"), build.RootOwned)
	return b.busybox, err
}

func (b *builder) goBuild(target, pkg string) error {
	target, err := filepath.Abs(target)
	if err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", target, pkg)
	cmd.Dir = b.source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	return nil
}
