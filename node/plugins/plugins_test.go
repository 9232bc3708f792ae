package plugins

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"clipper/node/kubeletdir"
)

// A driver is a plug-in as its author writes one.
type driver struct {
	registration.UnimplementedRegistrationServer
	info     registration.PluginInfo
	statuses chan *registration.RegistrationStatus
	server   *grpc.Server
	socket   string
}

func (d *driver) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &d.info, nil
}

func (d *driver) NotifyRegistrationStatus(_ context.Context, s *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	d.statuses <- s
	return &registration.RegistrationStatusResponse{}, nil
}

func startDriver(t *testing.T, socket, kind, name, endpoint string) *driver {
	t.Helper()
	d := &driver{info: registration.PluginInfo{Type: kind, Name: name, Endpoint: endpoint, SupportedVersions: []string{"v1"}},
		statuses: make(chan *registration.RegistrationStatus, 10), server: grpc.NewServer(), socket: socket}
	registration.RegisterRegistrationServer(d.server, d)
	l, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	go d.server.Serve(l)
	t.Cleanup(d.stop)
	return d
}

func (d *driver) stop() {
	d.server.Stop()
	_ = os.Remove(d.socket)
}

func (d *driver) status(t *testing.T) *registration.RegistrationStatus {
	t.Helper()
	select {
	case s := <-d.statuses:
		return s
	case <-time.After(10 * time.Second):
		t.Fatal("the plug-in was told nothing")
		return nil
	}
}

// A recorder is a handler that tells what it is asked.
type recorder struct {
	calls  chan string
	refuse error
}

func (r *recorder) Register(_ context.Context, p Plugin) error {
	r.calls <- fmt.Sprint("register ", p.Name, " ", p.Endpoint, " ", p.Versions)
	return r.refuse
}

func (r *recorder) Deregister(p Plugin) { r.calls <- "deregister " + p.Name }

func (r *recorder) want(t *testing.T, call string) {
	t.Helper()
	select {
	case got := <-r.calls:
		if got != call {
			t.Fatalf("the handler was asked to %q, want %q", got, call)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("the handler was not asked to %q", call)
	}
}

// run starts a watcher of a directory whose path is too long for a socket's address.
func run(t *testing.T, h Handler) kubeletdir.Dir {
	t.Helper()
	root := kubeletdir.Dir(filepath.Join(t.TempDir(), strings.Repeat("long", 25)))
	w := NewWatcher(root, map[string]Handler{registration.CSIPlugin: h})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return root
}

func TestPluginComesAndGoes(t *testing.T) {
	h := &recorder{calls: make(chan string, 10)}
	root := run(t, h)
	socket := root.Join(RegistryDir, "d-reg.sock")
	endpoint := kubeletdir.Known + "/plugins/d/csi.sock"
	registered := "register d " + root.Join("plugins/d/csi.sock") + " [v1]"

	d := startDriver(t, socket, registration.CSIPlugin, "d", endpoint)
	h.want(t, registered)
	if s := d.status(t); !s.PluginRegistered || s.Error != "" {
		t.Errorf("told %v", s)
	}
	d.server.Stop() // killed: the socket stays until the next one starts
	d2 := startDriver(t, socket, registration.CSIPlugin, "d", endpoint)
	h.want(t, "deregister d")
	h.want(t, registered)
	d2.status(t)
	d2.stop()
	h.want(t, "deregister d")

	nested := startDriver(t, root.Join(RegistryDir, "folder", "e.sock"), registration.CSIPlugin, "e", "")
	h.want(t, "register e "+nested.socket+" [v1]")
	hidden := startDriver(t, root.Join(RegistryDir, ".f.sock"), registration.CSIPlugin, "f", "")
	nested.stop()
	h.want(t, "deregister e")
	hidden.stop()
}

func TestPluginIsRefused(t *testing.T) {
	h := &recorder{calls: make(chan string, 10), refuse: errors.New("it is broken")}
	root := run(t, h)
	d := startDriver(t, root.Join(RegistryDir, "d.sock"), registration.CSIPlugin, "d", "")
	if s := d.status(t); s.PluginRegistered || s.Error != "RegisterPlugin error -- plugin registration failed with err: it is broken" {
		t.Errorf("told %v", s)
	}
	if s := d.status(t); s.PluginRegistered { // it is tried again
		t.Errorf("told %v", s)
	}
	other := startDriver(t, root.Join(RegistryDir, "o.sock"), "Coffee", "o", "")
	want := "RegisterPlugin error -- no handler registered for plugin type: Coffee at socket /var/lib/kubelet/plugins_registry/o.sock"
	if s := other.status(t); s.PluginRegistered || s.Error != want {
		t.Errorf("told %v, want %s", s, want)
	}
}
