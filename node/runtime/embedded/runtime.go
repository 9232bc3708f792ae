package embedded

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"clipper/image"
	"clipper/image/reference"
	"clipper/node/network/forward"
	"clipper/node/runtime"
	"clipper/node/runtime/embedded/crilog"
	"clipper/node/runtime/embedded/wire"
)

// Options configure the runtime.
type Options struct {
	DataDir   string    // absolute; state goes to <DataDir>/runtime, the shim binary to <DataDir>/bin
	Snapshots Snapshots // root file systems
	// ShimCgroup is where the shim moves itself, relative to the hierarchies' roots ("/clipper/shim"), so that
	// stopping the agent with its whole cgroup spares it. Empty: it stays with the agent.
	ShimCgroup string
	// LogLimits is when the shim rotates a log by itself. Zero: never, that is the agent's to do.
	LogLimits crilog.Limits
	ShimPath  string // a shim binary to use instead of the embedded one; for tests
}

// Runtime implements the node agent's runtime contract.
type Runtime struct {
	client    *client
	cache     *cache
	snapshots Snapshots
	host      *host
	written   written
}

var _ runtime.Runtime = (*Runtime)(nil)

// Open connects to the shim, starting it if need be, and clears up what an agent that was killed left half
// done. Run must then be running for events, and for List and Status to be answered from memory.
func Open(ctx context.Context, o Options) (*Runtime, error) {
	if !filepath.IsAbs(o.DataDir) {
		return nil, fmt.Errorf("container runtime: data directory %q is not an absolute path", o.DataDir)
	}
	h, err := readHost()
	if err != nil {
		return nil, fmt.Errorf("container runtime: %w", err)
	}
	r := &Runtime{
		client: &client{
			stateDir: filepath.Join(o.DataDir, "runtime"), binDir: filepath.Join(o.DataDir, "bin"),
			shimPath: o.ShimPath, cgroup: o.ShimCgroup, logLimits: o.LogLimits,
		},
		cache: newCache(), snapshots: o.Snapshots, host: h,
	}
	if err := r.clearUp(ctx); err != nil {
		r.client.close()
		return nil, err
	}
	return r, nil
}

// clearUp removes containers that were reserved only, and root file systems that belong to no container.
func (r *Runtime) clearUp(ctx context.Context) error {
	_, containers, err := r.list(ctx)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, c := range containers {
		known[c.ID] = true
		if c.Reserved {
			if err := r.RemoveContainer(ctx, c.ID); err != nil {
				return err
			}
		}
	}
	return r.snapshots.RetainSnapshots(ctx, func(id string) bool { return known[id] })
}

// Close drops the connections to the shim. Shim and containers stay.
func (r *Runtime) Close() { r.client.close() }

// rewatch is the pause before watching a shim again that has ended.
const rewatch = 50 * time.Millisecond

// Run keeps what List, Status and Events tell up to date until ctx ends. A shim that has died is started again.
func (r *Runtime) Run(ctx context.Context) error {
	for {
		err := r.watch(ctx)
		r.cache.lost()
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, ErrNoShim) {
			return err
		}
		slog.Warn("lost the container shim; starting it again", "err", err)
		r.client.dropIdle()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rewatch):
		}
	}
}

func (r *Runtime) watch(ctx context.Context) error {
	conn, err := r.client.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := r.client.send(ctx, conn, &wire.Request{Op: wire.OpWatch}); err != nil {
		return err
	}
	for first := true; ; first = false {
		resp, _, err := r.client.receive(ctx, conn)
		if err != nil {
			return err
		}
		if first {
			r.cache.replace(resp)
		} else {
			r.cache.update(resp)
		}
	}
}

// call asks the shim and takes note of what it answers.
func (r *Runtime) call(ctx context.Context, req *wire.Request) (*wire.Response, error) {
	resp, err := r.client.call(ctx, req)
	r.cache.answered(resp)
	return resp, err
}

// handlers are the names under which RuntimeClasses ask for this runtime.
var handlers = map[string]bool{"": true, "runc": true, "clipper": true}

// RunSandbox makes what a pod's containers share.
func (r *Runtime) RunSandbox(ctx context.Context, s runtime.Sandbox) error {
	if !handlers[s.Handler] {
		return fmt.Errorf("failed to get sandbox runtime: no runtime for %q is configured", s.Handler)
	}
	_, err := r.call(ctx, &wire.Request{Op: wire.OpRunSandbox, Sandbox: &s})
	return err
}

// StopSandbox kills what runs in it.
func (r *Runtime) StopSandbox(ctx context.Context, id string) error {
	_, err := r.call(ctx, &wire.Request{Op: wire.OpStopSandbox, ID: id})
	return err
}

// SandboxStatus returns a sandbox's status.
func (r *Runtime) SandboxStatus(ctx context.Context, id string) (runtime.SandboxStatus, error) {
	sb, err := r.sandbox(ctx, id)
	return sb.SandboxStatus, err
}

// PortForward connects stream to a port of the sandbox.
func (r *Runtime) PortForward(ctx context.Context, id string, port int32, stream io.ReadWriteCloser) error {
	sb, err := r.sandbox(ctx, id)
	if err != nil {
		return err
	}
	if !sb.Ready {
		return fmt.Errorf("sandbox %s is not running", id)
	}
	return forward.To(ctx, sb.NetNS, port, stream)
}

// RemoveSandbox removes it with its containers and their root file systems.
func (r *Runtime) RemoveSandbox(ctx context.Context, id string) error {
	if err := r.StopSandbox(ctx, id); err != nil {
		return err
	}
	_, containers, err := r.list(ctx)
	if err != nil {
		return err
	}
	for _, c := range containers {
		if c.SandboxID == id {
			if err := r.RemoveContainer(ctx, c.ID); err != nil {
				return err
			}
		}
	}
	_, err = r.call(ctx, &wire.Request{Op: wire.OpRemoveSandbox, ID: id})
	return err
}

// CreateContainer makes a container that StartContainer runs.
func (r *Runtime) CreateContainer(ctx context.Context, c runtime.Container) (string, error) {
	sb, err := r.sandbox(ctx, c.SandboxID)
	if err != nil {
		return "", err
	}
	id := newID()
	identity := runtime.ContainerStatus{
		ID: id, SandboxID: c.SandboxID, Name: c.Name, PodUID: sb.PodUID, Attempt: c.Attempt,
		Image: c.Image, LogPath: c.LogPath, Labels: c.Labels, Annotations: c.Annotations,
	}
	_, err = r.call(ctx, &wire.Request{Op: wire.OpReserve, ID: id, Container: &wire.ContainerSpec{Status: identity}})
	if err != nil {
		return "", fmt.Errorf("create container %s: %w", c.Name, err)
	}
	if err := r.create(ctx, id, identity, &c, &sb); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
		defer cancel()
		return "", errors.Join(fmt.Errorf("create container %s: %w", c.Name, err), r.RemoveContainer(ctx, id))
	}
	return id, nil
}

// cleanupTime limits clean-up that must happen though its request was cancelled.
const cleanupTime = 10 * time.Second

func (r *Runtime) create(ctx context.Context, id string, status runtime.ContainerStatus, c *runtime.Container, sb *wire.Sandbox) error {
	snapshot, config, err := r.prepare(ctx, id, c.Image, sb)
	if err != nil {
		return err
	}
	spec, err := r.containerSpec(id, c, sb, snapshot.Rootfs, &config.Config)
	if err != nil {
		return err
	}
	user := spec.Status.User
	spec.Status = status
	spec.Status.User, spec.Status.ImageID, spec.Status.Mounts = user, r.imageID(ctx, c.Image, snapshot.ImageID), c.Mounts
	_, err = r.call(ctx, &wire.Request{Op: wire.OpCreate, ID: id, Container: spec})
	return err
}

// prepare mounts the container's root file system.
func (r *Runtime) prepare(ctx context.Context, id, ref string, sb *wire.Sandbox) (image.Snapshot, *v1.ConfigFile, error) {
	if sb.UserPath == "" {
		return r.snapshots.Prepare(ctx, id, ref)
	}
	namespace, err := os.Open(sb.UserPath)
	if err != nil {
		return image.Snapshot{}, nil, fmt.Errorf("user namespace: %w", err)
	}
	defer namespace.Close()
	return r.snapshots.PrepareMapped(ctx, id, ref, image.Owners{IDs: *sb.Spec.UserNS, Namespace: namespace})
}

// imageID is the image's digest in the repository that it was asked for by, else in any, or its config digest
// where no registry's digest is known.
func (r *Runtime) imageID(ctx context.Context, ref, configDigest string) string {
	img, err := r.snapshots.ImageStatus(ctx, ref)
	if err != nil || len(img.Digests) == 0 {
		return configDigest
	}
	if parsed, err := reference.Parse(ref); err == nil {
		for _, d := range img.Digests {
			if strings.HasPrefix(d, parsed.Name()+"@") {
				return d
			}
		}
	}
	return img.Digests[0]
}

// StartContainer runs it.
func (r *Runtime) StartContainer(ctx context.Context, id string) error {
	_, err := r.call(ctx, &wire.Request{Op: wire.OpStart, ID: id})
	return err
}

// killTime is how long a container that was killed may take to be gone.
const killTime = 20 * time.Second

// StopContainer asks the container to end and kills it if it does not.
func (r *Runtime) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	rec, err := r.record(ctx, id)
	if errors.Is(err, runtime.ErrNotFound) || err == nil && rec.State != runtime.Running {
		return nil
	}
	if err != nil {
		return err
	}
	sig := unix.Signal(rec.StopSignal)
	if sig == 0 {
		sig = unix.SIGTERM
	}
	if grace > 0 {
		if err := r.signal(ctx, id, sig, false); err != nil {
			return err
		}
		if ended, err := r.waitFor(ctx, id, grace); ended || err != nil {
			return err
		}
	}
	if err := r.signal(ctx, id, unix.SIGKILL, true); err != nil {
		return err
	}
	ended, err := r.waitFor(ctx, id, killTime)
	if err == nil && !ended {
		err = fmt.Errorf("stop container %s: it is still there %v after SIGKILL", id, killTime)
	}
	return err
}

func (r *Runtime) signal(ctx context.Context, id string, sig unix.Signal, all bool) error {
	_, err := r.call(ctx, &wire.Request{Op: wire.OpSignal, ID: id, Signal: int(sig), All: all})
	if errors.Is(err, runtime.ErrNotFound) {
		return nil
	}
	return err
}

// waitFor waits until the container has ended, at most for limit.
func (r *Runtime) waitFor(ctx context.Context, id string, limit time.Duration) (ended bool, err error) {
	wait, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		_, err := r.call(wait, &wire.Request{Op: wire.OpWait, ID: id})
		switch {
		case err == nil || errors.Is(err, runtime.ErrNotFound):
			return true, nil
		case ctx.Err() != nil:
			return false, ctx.Err()
		case wait.Err() != nil:
			return false, nil
		}
		// The shim has died meanwhile: ask the next one.
		select {
		case <-wait.Done():
		case <-time.After(rewatch):
		}
	}
}

// RemoveContainer removes it with its root file system. One that runs is killed.
func (r *Runtime) RemoveContainer(ctx context.Context, id string) error {
	// The record goes last: while it is there, a removal that is interrupted can be repeated.
	if err := r.StopContainer(ctx, id, 0); err != nil {
		return err
	}
	if err := r.snapshots.RemoveSnapshot(ctx, id); err != nil {
		return err
	}
	r.written.forget(id)
	_, err := r.call(ctx, &wire.Request{Op: wire.OpRemove, ID: id})
	return err
}

// UpdateResources changes the limits of a container, or of a sandbox's pod cgroup.
func (r *Runtime) UpdateResources(ctx context.Context, id string, res runtime.Resources) error {
	_, err := r.call(ctx, &wire.Request{Op: wire.OpUpdateResources, ID: id, Resources: &res})
	return err
}

// ReopenLog starts a new log file.
func (r *Runtime) ReopenLog(ctx context.Context, id string) error {
	_, err := r.call(ctx, &wire.Request{Op: wire.OpReopenLog, ID: id})
	return err
}

// List returns everything that the shim holds.
func (r *Runtime) List(ctx context.Context) ([]runtime.SandboxStatus, []runtime.ContainerStatus, error) {
	sandboxes, containers, err := r.list(ctx)
	if err != nil {
		return nil, nil, err
	}
	outS := make([]runtime.SandboxStatus, 0, len(sandboxes))
	for _, s := range sandboxes {
		outS = append(outS, s.SandboxStatus)
	}
	outC := make([]runtime.ContainerStatus, 0, len(containers))
	for _, c := range containers {
		if !c.Reserved {
			outC = append(outC, c.ContainerStatus)
		}
	}
	return outS, outC, nil
}

func (r *Runtime) list(ctx context.Context) ([]wire.Sandbox, []wire.Container, error) {
	if sandboxes, containers, ok := r.cache.list(); ok {
		return sandboxes, containers, nil
	}
	resp, err := r.call(ctx, &wire.Request{Op: wire.OpList})
	if err != nil {
		return nil, nil, err
	}
	return resp.Sandboxes, resp.Containers, nil
}

// Status returns a container's status.
func (r *Runtime) Status(ctx context.Context, id string) (runtime.ContainerStatus, error) {
	rec, err := r.record(ctx, id)
	return rec.ContainerStatus, err
}

func (r *Runtime) record(ctx context.Context, id string) (wire.Container, error) {
	if rec, known, live := r.cache.container(id); live { // what the shim does not know, the cache does not
		if !known {
			return rec, wire.NotFound("container", id)
		}
		return rec, nil
	}
	resp, err := r.call(ctx, &wire.Request{Op: wire.OpList})
	if err != nil {
		return wire.Container{}, err
	}
	for _, c := range resp.Containers {
		if c.ID == id {
			return c, nil
		}
	}
	return wire.Container{}, wire.NotFound("container", id)
}

func (r *Runtime) sandbox(ctx context.Context, id string) (wire.Sandbox, error) {
	if rec, known, live := r.cache.sandbox(id); live {
		if !known {
			return rec, wire.NotFound("sandbox", id)
		}
		return rec, nil
	}
	resp, err := r.call(ctx, &wire.Request{Op: wire.OpList})
	if err != nil {
		return wire.Sandbox{}, err
	}
	for _, s := range resp.Sandboxes {
		if s.ID == id {
			return s, nil
		}
	}
	return wire.Sandbox{}, wire.NotFound("sandbox", id)
}

// Events delivers state changes until ctx ends.
func (r *Runtime) Events(ctx context.Context) <-chan runtime.Event { return r.cache.hub.Subscribe(ctx) }

// newID returns a container ID of the usual form: 64 hexadecimal digits.
func newID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// cgroupPath is where a container's cgroup is: below its pod's.
func cgroupPath(sb *wire.Sandbox, id string) string { return path.Join("/", sb.Spec.CgroupParent, id) }
