package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// busyboxArchive is the image of all pods that are measured.
const busyboxArchive = ".cache/images/busybox.tar"

// runcProgram returns a runc: this machine's or, unpacked and not installed, Debian's.
func runcProgram(ctx context.Context) (string, error) {
	if path, err := exec.LookPath("runc"); err == nil {
		return path, nil
	}
	cache, err := filepath.Abs(".cache/runc")
	if err != nil {
		return "", err
	}
	program := filepath.Join(cache, "usr/sbin/runc")
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	const script = `mkdir -p "$1" && cd "$1" && chmod 777 . && apt-get download -q runc && dpkg-deb -x runc_*.deb .`
	if out, err := exec.CommandContext(ctx, "sh", "-c", script, "sh", cache).CombinedOutput(); err != nil {
		return "", fmt.Errorf("download runc: %w\n%s", err, out)
	}
	return program, nil
}

// runcRun measures what `runc run` takes for the container of the pods that are measured: the floor.
func runcRun(ctx context.Context, b *bench) error {
	runc, err := runcProgram(ctx)
	if err != nil {
		return err
	}
	bundle, err := makeBundle(ctx, b.dir, runc)
	if err != nil {
		return err
	}
	defer os.RemoveAll(bundle)
	const n = 30
	var took [n]time.Duration
	for i := range n {
		id := fmt.Sprintf("clipper-figures-%d-%d", os.Getpid(), i)
		start := time.Now()
		// Its output goes nowhere: a pipe would be the container's too, and not come to its end with runc.
		err := exec.CommandContext(ctx, runc, "--root", filepath.Join(bundle, "state"), "run", "--detach", "--bundle", bundle, id).Run()
		took[i] = time.Since(start)
		gone, rerr := exec.Command(runc, "--root", filepath.Join(bundle, "state"), "delete", "--force", id).CombinedOutput()
		if err := errors.Join(err, rerr); err != nil {
			return fmt.Errorf("runc: %w\n%s", err, gone)
		}
	}
	slices.Sort(took[:])
	report("RuncRun", took[n/2].Seconds()*1e3, "p50-ms", took[n*99/100].Seconds()*1e3, "p99-ms")
	return nil
}

// makeBundle unpacks the image beside runc's own idea of a configuration, which has no terminal and sleeps.
func makeBundle(ctx context.Context, dir, runc string) (string, error) {
	bundle, err := os.MkdirTemp(dir, "bundle-")
	if err != nil {
		return "", err
	}
	img, err := tarball.ImageFromPath(busyboxArchive, nil)
	if err != nil {
		return "", fmt.Errorf("%w; build it with: go run ./test/images busybox", err)
	}
	files := mutate.Extract(img)
	defer files.Close()
	rootfs := filepath.Join(bundle, "rootfs")
	if err := os.Mkdir(rootfs, 0o755); err != nil {
		return "", err
	}
	unpack := exec.CommandContext(ctx, "tar", "-x", "-C", rootfs)
	unpack.Stdin = files
	if out, err := unpack.CombinedOutput(); err != nil {
		return "", fmt.Errorf("unpack the image: %w\n%s", err, out)
	}
	if out, err := exec.CommandContext(ctx, runc, "spec", "--bundle", bundle).CombinedOutput(); err != nil {
		return "", fmt.Errorf("runc spec: %w\n%s", err, out)
	}
	config := filepath.Join(bundle, "config.json")
	data, err := os.ReadFile(config)
	if err != nil {
		return "", err
	}
	var spec specs.Spec
	if err := json.Unmarshal(data, &spec); err != nil {
		return "", err
	}
	spec.Process.Terminal, spec.Process.Args = false, []string{"sleep", "3600"}
	if data, err = json.Marshal(spec); err != nil {
		return "", err
	}
	return bundle, os.WriteFile(config, data, 0o600)
}
