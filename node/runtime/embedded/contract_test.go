package embedded

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"clipper/image"
	"clipper/node/runtime"
	"clipper/node/runtime/contract"
	criclient "clipper/node/runtime/cri/client"
	criserver "clipper/node/runtime/cri/server"
)

// TestContract holds the runtime to the contract, called directly and by way of the container runtime interface:
// through the socket of package cri/server by package cri/client.
func TestContract(t *testing.T) {
	t.Run("direct", func(t *testing.T) {
		contract.Test(t, func(t *testing.T) *contract.Subject { return direct(newBed(t)) })
	})
	t.Run("cri", func(t *testing.T) {
		contract.Test(t, func(t *testing.T) *contract.Subject { return throughCRI(newBed(t)) })
	})
}

func (b *bed) subject(rt runtime.Runtime) *contract.Subject {
	return &contract.Subject{TB: b.TB, Runtime: rt, Dir: b.dir, Cgroup: b.cgroup, Image: "busybox"}
}

func direct(b *bed) *contract.Subject {
	c := b.subject(b.rt)
	c.Reopen = func() runtime.Runtime { b.reopen(); return b.rt }
	return c
}

// storedImages stand for an image store with one image.
type storedImages struct{ *dirSnapshots }

var theImage = runtime.Image{ID: "busybox", Tags: []string{"docker.io/library/busybox:latest"}, Size: 1, User: "web"}

func (s storedImages) ImageStatus(_ context.Context, ref string) (runtime.Image, error) {
	if ref == "busybox" {
		return theImage, nil
	}
	return runtime.Image{}, runtime.ErrNotFound
}
func (s storedImages) ListImages(context.Context) ([]runtime.Image, error) {
	return []runtime.Image{theImage}, nil
}
func (s storedImages) PullImage(context.Context, string, []runtime.PullAuth) (runtime.Image, error) {
	return runtime.Image{}, errors.New("there is no registry")
}
func (s storedImages) RemoveImage(context.Context, string) error  { return nil }
func (s storedImages) Config(string) (*v1.ConfigFile, error)      { return &v1.ConfigFile{}, nil }
func (s storedImages) Usage(context.Context) (image.Usage, error) { return image.Usage{Bytes: 7}, nil }
func (s storedImages) Dir() string                                { return s.dir }
func (b *bed) serveCRI(ctx context.Context, socket string) (done chan error) {
	s := criserver.New(criserver.Options{
		Socket: socket, Dir: filepath.Join(b.dir, "cri"), Runtime: b.rt, Images: storedImages{b.snapshots},
		Network: func() criserver.Network { return nil }, CgroupParent: b.cgroup, Version: "1.2.3",
	})
	done = make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return done
}

func throughCRI(b *bed) *contract.Subject {
	ctx, cancel := context.WithCancel(context.Background())
	socket := filepath.Join(b.dir, "cri.sock")
	served := b.serveCRI(ctx, socket)
	var stop func()
	open := func() runtime.Runtime {
		rt, err := criclient.Open(ctx, socket, "")
		if err != nil {
			b.Fatal(err)
		}
		run, end := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- rt.Run(run) }()
		stop = func() {
			end()
			if err := <-done; err != nil {
				b.Errorf("client: %v", err)
			}
			rt.Close()
		}
		return rt
	}
	c := b.subject(open())
	c.Reopen = func() runtime.Runtime { stop(); return open() }
	b.Cleanup(func() {
		stop()
		cancel()
		if err := <-served; err != nil {
			b.Errorf("server: %v", err)
		}
	})
	return c
}

// TestOthersSandboxes: what another client makes is marked.
func TestOthersSandboxes(t *testing.T) {
	b := newBed(t)
	c := throughCRI(b)
	id := c.Pod()
	sandboxes, _, err := b.rt.List(t.Context())
	if err != nil || len(sandboxes) != 1 || !sandboxes[0].External || sandboxes[0].ID == id || sandboxes[0].Attempt != 3 {
		t.Errorf("%+v, %v", sandboxes, err)
	}
}

// TestFilesOfSandboxesThatWereNeverMade are removed by the next server; those of others stay.
func TestFilesOfSandboxesThatWereNeverMade(t *testing.T) {
	b := newBed(t)
	here := b.sandbox()
	for _, id := range []string{here, "never"} {
		if err := os.MkdirAll(filepath.Join(b.dir, "cri", id), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c := throughCRI(b)
	if _, err := c.Runtime.SandboxStatus(t.Context(), "x-0"); err == nil { // it serves
		t.Error("there is no such sandbox")
	}
	left, err := os.ReadDir(filepath.Join(b.dir, "cri"))
	if err != nil || len(left) != 1 || left[0].Name() != here {
		t.Errorf("left: %v, %v", left, err)
	}
}
