package nodetest

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"

	"clipper/node/network"
	"clipper/node/runtime"
)

// Runtime runs containers that do nothing. A container's Behaviour is chosen by its image.
type Runtime struct {
	mu         sync.Mutex
	sandboxes  map[string]*runtime.SandboxStatus
	containers map[string]*fakeContainer
	listeners  map[chan runtime.Event]bool
	Specs      []runtime.Container // as asked for, in order
	// Behave says what a container of an image does once started. Nil: it runs until stopped.
	Behave map[string]Behaviour
	// IPs are the addresses of every sandbox, where the runtime brings the network.
	IPs []netip.Addr
	// Log has one line per call that changed something.
	Log []string
	// ExecFn answers Exec; nil: every command succeeds.
	ExecFn func(container string, command []string) (int, string)
}

// A Behaviour is what containers of one image do.
type Behaviour struct {
	Exit       int           // exit code
	After      time.Duration // exits this long after its start; 0: runs until stopped
	IgnoreTerm bool          // only SIGKILL ends it
	StartErr   error
	OOM        bool
}

type fakeContainer struct {
	runtime.ContainerStatus
	timer *time.Timer
}

// NewRuntime returns an empty runtime.
func NewRuntime() *Runtime {
	return &Runtime{sandboxes: map[string]*runtime.SandboxStatus{}, containers: map[string]*fakeContainer{},
		listeners: map[chan runtime.Event]bool{}, Behave: map[string]Behaviour{}}
}

func (r *Runtime) logLocked(format string, args ...any) {
	r.Log = append(r.Log, fmt.Sprintf(format, args...))
}

// Calls returns the log so far.
func (r *Runtime) Calls() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.Log)
}

// RunSandbox implements runtime.Runtime.
func (r *Runtime) RunSandbox(_ context.Context, s runtime.Sandbox) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sandboxes[s.ID] = &runtime.SandboxStatus{ID: s.ID, PodUID: s.PodUID, Namespace: s.Namespace, Pod: s.Pod, Ready: true, NetNS: s.NetNS, IPs: r.IPs, CreatedAt: time.Now()}
	r.logLocked("run-sandbox %s", s.ID)
	return nil
}

// StopSandbox implements runtime.Runtime.
func (r *Runtime) StopSandbox(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sandboxes[id]
	if s == nil {
		return nil
	}
	s.Ready = false
	for _, c := range r.containers {
		if c.SandboxID == id {
			r.exitLocked(c, 137)
		}
	}
	r.logLocked("stop-sandbox %s", id)
	return nil
}

// RemoveSandbox implements runtime.Runtime.
func (r *Runtime) RemoveSandbox(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sandboxes, id)
	for cid, c := range r.containers {
		if c.SandboxID == id {
			delete(r.containers, cid)
		}
	}
	r.logLocked("remove-sandbox %s", id)
	return nil
}

// SandboxStatus implements runtime.Runtime.
func (r *Runtime) SandboxStatus(_ context.Context, id string) (runtime.SandboxStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.sandboxes[id]; s != nil {
		return *s, nil
	}
	return runtime.SandboxStatus{}, runtime.ErrNotFound
}

// CreateContainer implements runtime.Runtime.
func (r *Runtime) CreateContainer(_ context.Context, c runtime.Container) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sandboxes[c.SandboxID]
	if s == nil || !s.Ready {
		return "", fmt.Errorf("sandbox %s: %w", c.SandboxID, runtime.ErrNotFound)
	}
	id := fmt.Sprintf("%s-%s-%d", s.Pod, c.Name, c.Attempt)
	r.containers[id] = &fakeContainer{ContainerStatus: runtime.ContainerStatus{
		ID: id, SandboxID: c.SandboxID, Name: c.Name, PodUID: s.PodUID, Attempt: c.Attempt, Image: c.Image,
		ImageID: "sha256:" + c.Image, State: runtime.Created, CreatedAt: time.Now(), LogPath: c.LogPath}}
	r.Specs = append(r.Specs, c)
	r.logLocked("create %s", id)
	return id, nil
}

// StartContainer implements runtime.Runtime.
func (r *Runtime) StartContainer(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[id]
	if c == nil {
		return runtime.ErrNotFound
	}
	b := r.Behave[c.Image]
	r.logLocked("start %s", id)
	if b.StartErr != nil {
		c.Reason, c.Message = "StartError", b.StartErr.Error()
		r.exitLocked(c, 128)
		return b.StartErr
	}
	c.State, c.StartedAt, c.Pid = runtime.Running, time.Now(), 1
	c.OOMKilled = b.OOM
	if b.After > 0 {
		c.timer = time.AfterFunc(b.After, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.exitLocked(c, b.Exit)
		})
	}
	r.notifyLocked(c)
	return nil
}

func (r *Runtime) exitLocked(c *fakeContainer, code int) {
	if c.State == runtime.Exited {
		return
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	c.State, c.ExitCode, c.FinishedAt, c.Pid = runtime.Exited, code, time.Now(), 0
	r.logLocked("exit %s %d", c.ID, code)
	r.notifyLocked(c)
}

// Exit makes a running container exit.
func (r *Runtime) Exit(id string, code int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.exitLocked(r.containers[id], code)
}

func (r *Runtime) notifyLocked(c *fakeContainer) {
	for ch := range r.listeners {
		ch <- runtime.Event{PodUID: c.PodUID, SandboxID: c.SandboxID, ContainerID: c.ID, State: c.State}
	}
}

// StopContainer implements runtime.Runtime.
func (r *Runtime) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	r.mu.Lock()
	c := r.containers[id]
	if c == nil || c.State == runtime.Exited {
		r.mu.Unlock()
		return nil
	}
	r.logLocked("stop %s grace=%s", id, grace)
	stubborn := r.Behave[c.Image].IgnoreTerm
	r.mu.Unlock()
	code := 143
	if stubborn {
		t := time.NewTimer(grace)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
		code = 137
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.exitLocked(c, code)
	return nil
}

// RemoveContainer implements runtime.Runtime.
func (r *Runtime) RemoveContainer(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.containers, id)
	r.logLocked("remove %s", id)
	return nil
}

// UpdateResources implements runtime.Runtime.
func (r *Runtime) UpdateResources(_ context.Context, id string, res runtime.Resources) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logLocked("update %s shares=%d", id, res.CPUShares)
	return nil
}

// List implements runtime.Runtime.
func (r *Runtime) List(context.Context) ([]runtime.SandboxStatus, []runtime.ContainerStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ss []runtime.SandboxStatus
	var cs []runtime.ContainerStatus
	for _, s := range r.sandboxes {
		ss = append(ss, *s)
	}
	for _, c := range r.containers {
		cs = append(cs, c.ContainerStatus)
	}
	return ss, cs, nil
}

// Status implements runtime.Runtime.
func (r *Runtime) Status(_ context.Context, id string) (runtime.ContainerStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.containers[id]; c != nil {
		return c.ContainerStatus, nil
	}
	return runtime.ContainerStatus{}, runtime.ErrNotFound
}

// Events implements runtime.Runtime.
func (r *Runtime) Events(ctx context.Context) <-chan runtime.Event {
	ch := make(chan runtime.Event, 10000)
	r.mu.Lock()
	r.listeners[ch] = true
	r.mu.Unlock()
	context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.listeners, ch)
		close(ch)
	})
	return ch
}

// Exec implements runtime.Runtime.
func (r *Runtime) Exec(_ context.Context, id string, e runtime.Exec) (int, error) {
	r.mu.Lock()
	fn := r.ExecFn
	r.logLocked("exec %s %v", id, e.Command)
	r.mu.Unlock()
	if fn == nil {
		return 0, nil
	}
	code, out := fn(id, e.Command)
	if e.Stdout != nil {
		io.WriteString(e.Stdout, out) //nolint:errcheck // a test's buffer
	}
	return code, nil
}

// Attach implements runtime.Runtime.
func (r *Runtime) Attach(ctx context.Context, _ string, _ runtime.Exec) error {
	<-ctx.Done()
	return ctx.Err()
}

// PortForward implements runtime.Runtime: it says what comes back.
func (r *Runtime) PortForward(_ context.Context, _ string, _ int32, stream io.ReadWriteCloser) error {
	_, err := io.Copy(stream, stream)
	return err
}

// ReopenLog implements runtime.Runtime.
func (r *Runtime) ReopenLog(context.Context, string) error { return nil }

// Stats implements runtime.Runtime.
func (r *Runtime) Stats(_ context.Context, ids ...string) ([]runtime.Stats, error) {
	var out []runtime.Stats
	for _, id := range ids {
		out = append(out, runtime.Stats{ContainerID: id, At: time.Now(), CPUUsage: time.Second, MemoryUsage: 1 << 20, MemoryWorkingSet: 1 << 20})
	}
	return out, nil
}

// SandboxStats implements runtime.Runtime.
func (r *Runtime) SandboxStats(context.Context, string) (runtime.Stats, error) {
	return runtime.Stats{At: time.Now(), CPUUsage: time.Second, MemoryUsage: 1 << 20, MemoryWorkingSet: 1 << 20}, nil
}

// Images is an image store: Present images are there, the others cannot be pulled but for Pullable ones.
type Images struct {
	mu                sync.Mutex
	Present, Pullable map[string]runtime.Image
}

// ImageStatus implements runtime.Images.
func (i *Images) ImageStatus(_ context.Context, ref string) (runtime.Image, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if img, ok := i.Present[ref]; ok {
		return img, nil
	}
	return runtime.Image{}, runtime.ErrNotFound
}

// ListImages implements runtime.Images.
func (i *Images) ListImages(context.Context) ([]runtime.Image, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	var out []runtime.Image
	for _, img := range i.Present {
		out = append(out, img)
	}
	return out, nil
}

// PullImage implements runtime.Images.
func (i *Images) PullImage(_ context.Context, ref string, _ []runtime.PullAuth) (runtime.Image, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	img, ok := i.Pullable[ref]
	if !ok {
		return img, fmt.Errorf("pull %s: not found", ref)
	}
	i.Present[ref] = img
	return img, nil
}

// RemoveImage implements runtime.Images.
func (i *Images) RemoveImage(_ context.Context, ref string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.Present, ref)
	return nil
}

// Network hands out addresses in order.
type Network struct {
	// Delegated leaves pods to the runtime.
	Delegated bool

	mu       sync.Mutex
	next     byte
	Attached map[string]network.Attachment
}

// Attach implements network.Network.
func (n *Network) Attach(_ context.Context, id string, _ []network.PodPort) (network.Attachment, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.Delegated {
		return network.Attachment{}, nil
	}
	if a, ok := n.Attached[id]; ok {
		return a, nil
	}
	if n.Attached == nil {
		n.Attached = map[string]network.Attachment{}
	}
	n.next++
	a := network.Attachment{NetNS: "/run/netns/" + id, IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 42, 0, n.next})}}
	n.Attached[id] = a
	return a, nil
}

// Detach implements network.Network.
func (n *Network) Detach(_ context.Context, id string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.Attached, id)
	return nil
}

// List implements network.Network.
func (n *Network) List(context.Context) ([]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []string
	for id := range n.Attached {
		out = append(out, id)
	}
	return out, nil
}

// Publish makes an image one that can be pulled.
func (i *Images) Publish(ref string, img runtime.Image) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.Pullable[ref] = img
}
