package devices

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	plugin "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"clipper/catalogue/core/podspec"
	"clipper/node/plugins"
)

// Files in the folder that device plug-ins know.
const (
	pluginDir  = "device-plugins"
	socketName = "kubelet.sock"
)

// A registrar takes plug-ins in, by the socket kubelet.sock where they call, or as a plugins.Handler.
type registrar struct {
	plugin.UnimplementedRegistrationServer
	m  *Manager
	wg sync.WaitGroup

	mu  sync.Mutex
	ctx context.Context // of Run; nil before and after
}

// Run serves the socket on which device plug-ins register until ctx ends. Sockets of plug-ins that are there already
// are removed first: by that they notice that they must register anew.
func (m *Manager) Run(ctx context.Context) error {
	dir := m.cfg.Dir.Join(pluginDir)
	if err := clearSockets(dir); err != nil {
		return fmt.Errorf("clear the folder of device plug-ins: %w", err)
	}
	listener, err := plugins.Listen(filepath.Join(dir, socketName))
	if err != nil {
		return fmt.Errorf("serve the registration of device plug-ins: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &registrar{m: m, ctx: ctx}
	server := grpc.NewServer()
	plugin.RegisterRegistrationServer(server, r)
	r.wg.Go(func() { m.forget(ctx) })
	r.wg.Go(func() {
		<-ctx.Done()
		server.Stop()
	})
	err = server.Serve(listener)
	cancel()
	r.end()
	if ctx.Err() != nil && (err == nil || errors.Is(err, grpc.ErrServerStopped)) {
		return context.Canceled
	}
	return err
}

func clearSockets(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	errs := []error{err}
	for _, e := range entries {
		if e.Type()&fs.ModeSocket != 0 {
			errs = append(errs, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// end waits for what registrations have started; none starts anything any more.
func (r *registrar) end() {
	r.mu.Lock()
	r.ctx = nil
	r.mu.Unlock()
	r.wg.Wait()
}

// Register is what plug-ins call. Its errors are the kubelet's.
func (r *registrar) Register(ctx context.Context, req *plugin.RegisterRequest) (*plugin.Empty, error) {
	if !slices.Contains(plugin.SupportedVersions[:], req.Version) {
		return nil, fmt.Errorf("requested API version %q is not supported by kubelet. Supported version is %q", req.Version, plugin.SupportedVersions)
	}
	if !podspec.IsExtended(corev1.ResourceName(req.ResourceName)) {
		return nil, fmt.Errorf("the ResourceName %q is invalid", req.ResourceName)
	}
	if req.Endpoint != filepath.Base(req.Endpoint) {
		return nil, fmt.Errorf("the endpoint %q is not the name of a socket beside this one", req.Endpoint)
	}
	e, err := connect(ctx, req.ResourceName, r.m.cfg.Dir.Join(pluginDir, req.Endpoint))
	if err != nil {
		slog.Warn("A device plug-in that wants to register cannot be reached", "resource", req.ResourceName, "err", err)
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx == nil {
		_ = e.conn.Close()
		return nil, errors.New("the node's agent is stopping")
	}
	r.m.attach(e)
	run := r.ctx
	r.wg.Go(func() { r.m.follow(run, e) })
	slog.Info("A device plug-in has registered", "resource", e.resource, "socket", e.socket)
	return &plugin.Empty{}, nil
}

// Handler takes the device plug-ins that are found by their sockets in plugins_registry.
func (m *Manager) Handler() plugins.Handler { return &watched{m: m, running: map[string]*follower{}} }

type watched struct {
	m       *Manager
	mu      sync.Mutex
	running map[string]*follower // by registration socket
}

// A follower is the goroutine that follows a plug-in.
type follower struct {
	end  context.CancelFunc
	done chan struct{}
}

func (w *watched) Register(ctx context.Context, p plugins.Plugin) error {
	if !slices.Contains(p.Versions, plugin.Version) {
		return fmt.Errorf("manager version, %s, is not among plugin supported versions %v", plugin.Version, p.Versions)
	}
	if !podspec.IsExtended(corev1.ResourceName(p.Name)) {
		return fmt.Errorf("invalid name of device plugin socket: the ResourceName %q is invalid", p.Name)
	}
	e, err := connect(ctx, p.Name, p.Endpoint)
	if err != nil {
		return err
	}
	w.m.attach(e)
	run, cancel := context.WithCancel(ctx)
	f := &follower{end: cancel, done: make(chan struct{})}
	w.mu.Lock()
	w.running[p.Socket] = f
	w.mu.Unlock()
	go func() { // Deregister waits for it
		defer close(f.done)
		w.m.follow(run, e)
	}()
	return nil
}

func (w *watched) Deregister(p plugins.Plugin) {
	w.mu.Lock()
	f := w.running[p.Socket]
	delete(w.running, p.Socket)
	w.mu.Unlock()
	if f != nil {
		f.end()
		<-f.done
	}
}

// forget drops resources whose plug-ins have been gone for long, but for their names: the node has none of them.
func (m *Manager) forget(ctx context.Context) {
	for {
		var alarm <-chan time.Time
		if at := m.nextExpiry(); !at.IsZero() {
			alarm = time.After(time.Until(at))
		}
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		case <-alarm:
			m.cfg.Changed()
		}
	}
}

// nextExpiry returns when a resource's grace period ends next.
func (m *Manager) nextExpiry() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	var next time.Time
	for _, r := range m.resources {
		if r.stopped.IsZero() || r.expired() {
			continue
		}
		if at := r.stopped.Add(stopGrace); next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}
