package devices

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	plugin "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	"k8s.io/utils/ptr"

	"clipper/node/kubeletdir"
	"clipper/node/plugins"
	"clipper/node/resources/affinity"
	"clipper/node/runtime"
)

const resourceName = "example.com/device"

// A rig is a manager that runs, and a plug-in for it.
type rig struct {
	*testing.T
	*Manager
	dir     kubeletdir.Dir
	changed chan struct{}
	sick    chan []types.UID
}

func newRig(t *testing.T, dir kubeletdir.Dir) *rig {
	t.Helper()
	r := &rig{T: t, dir: dir, changed: make(chan struct{}, 100), sick: make(chan []types.UID, 100)}
	var err error
	r.Manager, err = New(Config{Dir: dir, Nodes: func() []int { return []int{0, 1} },
		Changed: func() { r.changed <- struct{}{} }, Sick: func(pods []types.UID) { r.sick <- pods }})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// run starts the manager until the test ends or stop is called.
func (r *rig) run() (stop func()) {
	ctx, cancel := context.WithCancel(r.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Manager.Run(ctx) }()
	stop = func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			r.Error(err)
		}
		ended <- nil
	}
	r.Cleanup(stop)
	return stop
}

func (r *rig) eventually(what string, ok func() bool) {
	r.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			r.Fatalf("it does not come about that %s", what)
		}
		select {
		case <-r.changed:
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (r *rig) count() Count { return r.Counts()[resourceName] }

// A fake is a plug-in with devices on two NUMA nodes.
type fake struct {
	plugin.UnimplementedDevicePluginServer
	server  *grpc.Server
	lists   chan []*plugin.Device
	refuse  error
	options plugin.DevicePluginOptions
	asked   chan string
}

func someDevices(n int, sick ...string) []*plugin.Device {
	var out []*plugin.Device
	for i := range n {
		d := &plugin.Device{ID: fmt.Sprint("d", i), Health: plugin.Healthy, Topology: &plugin.TopologyInfo{Nodes: []*plugin.NUMANode{{ID: int64(i % 2)}}}}
		if slices.Contains(sick, d.ID) {
			d.Health = plugin.Unhealthy
		}
		out = append(out, d)
	}
	return out
}

func (f *fake) GetDevicePluginOptions(context.Context, *plugin.Empty) (*plugin.DevicePluginOptions, error) {
	return &f.options, nil
}

func (f *fake) ListAndWatch(_ *plugin.Empty, s grpc.ServerStreamingServer[plugin.ListAndWatchResponse]) error {
	for {
		select {
		case <-s.Context().Done():
			return nil
		case list := <-f.lists:
			if err := s.Send(&plugin.ListAndWatchResponse{Devices: list}); err != nil {
				return err
			}
		}
	}
}

func (f *fake) Allocate(_ context.Context, req *plugin.AllocateRequest) (*plugin.AllocateResponse, error) {
	ids := strings.Join(req.ContainerRequests[0].DevicesIds, ",")
	return &plugin.AllocateResponse{ContainerResponses: []*plugin.ContainerAllocateResponse{{
		Envs: map[string]string{"DEVICES": ids, "OWN": "plugin's"}, Mounts: []*plugin.Mount{{HostPath: "/var/lib/kubelet/lib", ContainerPath: "/lib/x", ReadOnly: true}},
		Devices: []*plugin.DeviceSpec{{HostPath: "/dev/null", ContainerPath: "/dev/x", Permissions: "rw"}}, Annotations: map[string]string{"a": "b"},
		CdiDevices: []*plugin.CDIDevice{{Name: "v.com/c=" + ids}}}}}, f.refuse
}

func (f *fake) GetPreferredAllocation(_ context.Context, req *plugin.PreferredAllocationRequest) (*plugin.PreferredAllocationResponse, error) {
	c := req.ContainerRequests[0]
	f.asked <- fmt.Sprint("prefer ", c.AvailableDeviceIDs, c.MustIncludeDeviceIDs, c.AllocationSize)
	return &plugin.PreferredAllocationResponse{ContainerResponses: []*plugin.ContainerPreferredAllocationResponse{{DeviceIDs: c.AvailableDeviceIDs[len(c.AvailableDeviceIDs)-1:]}}}, nil
}

func (f *fake) PreStartContainer(_ context.Context, req *plugin.PreStartContainerRequest) (*plugin.PreStartContainerResponse, error) {
	f.asked <- fmt.Sprint("start ", req.DevicesIds)
	return &plugin.PreStartContainerResponse{}, nil
}

// plug starts a plug-in and registers it.
func (r *rig) plug(options *plugin.DevicePluginOptions, list []*plugin.Device) *fake {
	r.Helper()
	f := &fake{server: grpc.NewServer(), lists: make(chan []*plugin.Device, 10), asked: make(chan string, 100)}
	f.options.PreStartRequired, f.options.GetPreferredAllocationAvailable = options.GetPreStartRequired(), options.GetGetPreferredAllocationAvailable()
	plugin.RegisterDevicePluginServer(f.server, f)
	r.eventually("the folder has been cleared", func() bool {
		conn, err := plugins.Dial(r.dir.Join(pluginDir, socketName))
		if err != nil {
			r.Fatal(err)
		}
		defer conn.Close()
		_, err = plugin.NewRegistrationClient(conn).Register(r.Context(), &plugin.RegisterRequest{Version: "v0"})
		return err != nil && strings.Contains(err.Error(), "requested API version")
	})
	listener, err := plugins.Listen(r.dir.Join(pluginDir, "fake.sock"))
	if err != nil {
		r.Fatal(err)
	}
	go f.server.Serve(listener)
	r.Cleanup(f.server.Stop)
	f.lists <- list
	conn, err := plugins.Dial(r.dir.Join(pluginDir, socketName))
	if err != nil {
		r.Fatal(err)
	}
	defer conn.Close()
	_, err = plugin.NewRegistrationClient(conn).Register(r.Context(), &plugin.RegisterRequest{Version: plugin.Version, Endpoint: "fake.sock", ResourceName: resourceName})
	if err != nil {
		r.Fatal(err)
	}
	return f
}

func podOf(name string, n ...int64) *corev1.Pod {
	p := &corev1.Pod{}
	p.UID = types.UID(name)
	for i, devices := range n {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: fmt.Sprint("c", i), Resources: corev1.ResourceRequirements{
			Limits: corev1.ResourceList{resourceName: *resource.NewQuantity(devices, resource.DecimalSI)}}})
	}
	return p
}

func (r *rig) give(p *corev1.Pod, hint affinity.Hint) error {
	for i := range p.Spec.InitContainers {
		if err := r.Allocate(r.Context(), p, &p.Spec.InitContainers[i], hint, false); err != nil {
			return err
		}
	}
	for i := range p.Spec.Containers {
		if err := r.Allocate(r.Context(), p, &p.Spec.Containers[i], hint, false); err != nil {
			return err
		}
	}
	r.Settled(p.UID)
	return nil
}

func (r *rig) has(p *corev1.Pod, container string) string {
	var out []string
	for _, h := range r.Of(p.UID, container) {
		out = append(out, h.IDs...)
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

func TestDevicesComeAndGo(t *testing.T) {
	dir := kubeletdir.Dir(t.TempDir())
	r := newRig(t, dir)
	r.run()
	f := r.plug(nil, someDevices(4))
	r.eventually("there are 4", func() bool { return r.count() == Count{4, 4} })
	p := podOf("p", 1)
	if err := r.give(p, affinity.Hint{}); err != nil {
		t.Fatal(err)
	}
	f.lists <- someDevices(4, r.has(p, "c0"))
	r.eventually("one is sick", func() bool { return r.count() == Count{4, 3} })
	if pods := <-r.sick; !slices.Equal(pods, []types.UID{"p"}) {
		t.Errorf("told of pods %v", pods)
	}
	want := []corev1.ResourceStatus{{Name: resourceName, Resources: []corev1.ResourceHealth{{ResourceID: "d0", Health: corev1.ResourceHealthStatusUnhealthy}}}}
	if got := r.Health("p", "c0"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("health %v, want %v", got, want)
	}
	f.server.Stop()
	r.eventually("none is healthy", func() bool { return r.count() == Count{4, 0} })
	if err := r.give(podOf("q", 1), affinity.Hint{}); err == nil || err.Error() != "no healthy devices present; cannot allocate unhealthy devices example.com/device" {
		t.Errorf("got %v", err)
	}
	r.mu.Lock()
	r.resources[resourceName].stopped = time.Now().Add(-stopGrace)
	r.mu.Unlock()
	if r.count() != (Count{}) {
		t.Errorf("after the grace period there are %v", r.count())
	}
	r.plug(nil, someDevices(2))
	r.eventually("there are 2", func() bool { return r.count() == Count{2, 2} })
}

func TestAllocate(t *testing.T) {
	r := newRig(t, kubeletdir.Dir(t.TempDir()))
	r.run()
	f := r.plug(nil, someDevices(4))
	r.eventually("there are 4", func() bool { return r.count().All == 4 })
	near1 := affinity.Hint{Nodes: affinity.MaskOf(1)}
	a := podOf("a", 2)
	if err := r.give(a, near1); err != nil || r.has(a, "c0") != "d1,d3" {
		t.Fatalf("a has %s, %v; want those of node 1", r.has(a, "c0"), err)
	}
	if err := r.give(a, near1); err != nil || r.has(a, "c0") != "d1,d3" { // again
		t.Errorf("a has %s, %v", r.has(a, "c0"), err)
	}
	b := podOf("b", 3)
	want := "requested number of devices unavailable for example.com/device. Requested: 3, Available: 2"
	if err := r.give(b, affinity.Hint{}); err == nil || err.Error() != want {
		t.Errorf("b: %v, want %s", err, want)
	}
	f.refuse = errors.New("broken")
	c := podOf("c", 1)
	if err := r.give(c, affinity.Hint{}); err == nil || r.has(c, "c0") != "" {
		t.Errorf("c has %q, %v", r.has(c, "c0"), err)
	}
	f.refuse = nil
	// What an init container had, a later container has.
	d := podOf("d", 1, 1)
	d.Spec.InitContainers = []corev1.Container{{Name: "i", Resources: d.Spec.Containers[0].Resources}}
	if err := r.give(d, affinity.Hint{}); err != nil || r.has(d, "i") != r.has(d, "c0") || r.has(d, "c0") == r.has(d, "c1") {
		t.Errorf("d has %s, %s, %s; %v", r.has(d, "i"), r.has(d, "c0"), r.has(d, "c1"), err)
	}
	// But a sidecar stays beside the others.
	if err := r.Release("d"); err != nil {
		t.Fatal(err)
	}
	d.Spec.InitContainers[0].RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
	if err := r.give(d, affinity.Hint{}); err == nil {
		t.Errorf("d has %s, %s, %s of two devices", r.has(d, "i"), r.has(d, "c0"), r.has(d, "c1"))
	}
}

func TestPluginIsAsked(t *testing.T) {
	r := newRig(t, kubeletdir.Dir(t.TempDir()))
	r.run()
	f := r.plug(&plugin.DevicePluginOptions{PreStartRequired: true, GetPreferredAllocationAvailable: true}, someDevices(3))
	r.eventually("there are 3", func() bool { return r.count().All == 3 })
	p := podOf("p", 1)
	if err := r.give(p, affinity.Hint{}); err != nil || r.has(p, "c0") != "d2" || <-f.asked != "prefer [d0 d1 d2] [] 1" {
		t.Errorf("p has %s, %v", r.has(p, "c0"), err)
	}
	spec := &runtime.Container{Env: []string{"OWN=mine"}}
	if err := r.Apply(t.Context(), p, &p.Spec.Containers[0], spec); err != nil || <-f.asked != "start [d2]" {
		t.Fatal(err)
	}
	want := &runtime.Container{Env: []string{"DEVICES=d2", "OWN=plugin's", "OWN=mine"}, Annotations: map[string]string{"a": "b"}, CDIDevices: []string{"v.com/c=d2"},
		Mounts: []runtime.Mount{{Host: string(r.dir) + "/lib", Container: "/lib/x", ReadOnly: true}}, Devices: []runtime.Device{{Host: "/dev/null", Container: "/dev/x", Permissions: "rw"}}}
	if fmt.Sprint(spec) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", spec, want)
	}
}

// A new agent knows who has what, and hands it to nobody else, before the plug-in has come back.
func TestAssignmentsOutliveTheAgent(t *testing.T) {
	dir := kubeletdir.Dir(t.TempDir())
	r := newRig(t, dir)
	stop := r.run()
	r.plug(nil, someDevices(2))
	r.eventually("there are 2", func() bool { return r.count().All == 2 })
	p := podOf("p", 1)
	if err := r.give(p, affinity.Hint{}); err != nil {
		t.Fatal(err)
	}
	stop()

	r2 := newRig(t, dir)
	r2.run()
	if r2.has(p, "c0") != "d0" || !r2.Wants(p) {
		t.Errorf("p has %q", r2.has(p, "c0"))
	}
	if err := r2.Allocate(t.Context(), p, &p.Spec.Containers[0], affinity.Hint{}, true); err != nil {
		t.Error(err)
	}
	spec := &runtime.Container{}
	if err := r2.Apply(t.Context(), p, &p.Spec.Containers[0], spec); err != nil || spec.Env[0] != "DEVICES=d0" {
		t.Errorf("%v, %v", spec, err)
	}
	asked := make(chan error, 1)
	go func() { asked <- r2.Allocate(t.Context(), p, &p.Spec.Containers[0], affinity.Hint{}, false) }() // in a back-off, say
	r2.plug(nil, someDevices(2))
	r2.eventually("there are 2", func() bool { return r2.count().Healthy == 2 })
	if err := <-asked; err != nil {
		t.Errorf("p is turned away before its plug-in is back: %v", err)
	}
	q := podOf("q", 1)
	if err := r2.give(q, affinity.Hint{}); err != nil || r2.has(q, "c0") != "d1" {
		t.Errorf("q has %q, %v", r2.has(q, "c0"), err)
	}
	if err := r2.Release("p"); err != nil || r2.has(p, "c0") != "" {
		t.Errorf("p has %q, %v", r2.has(p, "c0"), err)
	}
}

func TestRegisterRefuses(t *testing.T) {
	r := &registrar{m: newRig(t, kubeletdir.Dir(t.TempDir())).Manager}
	for _, c := range []struct{ version, name, endpoint, want string }{
		{"v1", resourceName, "x.sock", `requested API version "v1" is not supported by kubelet. Supported version is ["v1beta1"]`},
		{"v1beta1", "cpu", "x.sock", `the ResourceName "cpu" is invalid`},
		{"v1beta1", resourceName, "../x.sock", `the endpoint "../x.sock" is not the name of a socket beside this one`},
	} {
		_, err := r.Register(t.Context(), &plugin.RegisterRequest{Version: c.version, ResourceName: c.name, Endpoint: c.endpoint})
		if err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

func TestHints(t *testing.T) {
	r := newRig(t, kubeletdir.Dir(t.TempDir()))
	r.resources[resourceName] = &kind{devices: map[string]device{"a": {true, []int{0}}, "b": {true, []int{1}}, "c": {true, []int{1}}}}
	for want, n := range map[string]int64{
		"[{{0} true} {{1} true} {{0,1} false}]": 1,
		"[{{1} true} {{0,1} false}]":            2,
		"[{{0,1} true}]":                        3,
		"[]":                                    4,
	} {
		p := podOf("p", n)
		if got := fmt.Sprint(r.Hints(p, &p.Spec.Containers[0])[resourceName]); got != want {
			t.Errorf("%d devices: %s, want %s", n, got, want)
		}
		if got := fmt.Sprint(r.PodHints(p)[resourceName]); got != want {
			t.Errorf("%d devices for a pod: %s, want %s", n, got, want)
		}
	}
}

func TestTheSameAgainIsNoNews(t *testing.T) {
	r := newRig(t, kubeletdir.Dir(t.TempDir()))
	e := &endpoint{resource: resourceName}
	r.resources[resourceName] = &kind{endpoint: e}
	for i, c := range []struct {
		list    []*plugin.Device
		changed bool
	}{{nil, true}, {nil, false}, {someDevices(2), true}, {someDevices(2), false}, {someDevices(2, "d0"), true}, {someDevices(3), true}} {
		if _, changed, err := r.note(e, c.list); changed != c.changed || err != nil {
			t.Errorf("list %d: changed %v, %v", i, changed, err)
		}
	}
	if _, changed, _ := r.note(&endpoint{resource: resourceName}, nil); changed {
		t.Error("a former plug-in has a say")
	}
}

// A plug-in that is found by its socket in plugins_registry is followed until that goes.
func TestWatchedPlugin(t *testing.T) {
	r := newRig(t, kubeletdir.Dir(t.TempDir()))
	f := &fake{server: grpc.NewServer(), lists: make(chan []*plugin.Device, 10)}
	plugin.RegisterDevicePluginServer(f.server, f)
	socket := r.dir.Join("plugins/fake.sock")
	listener, err := plugins.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	go f.server.Serve(listener)
	t.Cleanup(f.server.Stop)
	f.lists <- someDevices(3)
	h := r.Handler()
	p := plugins.Plugin{Name: resourceName, Endpoint: socket, Socket: socket, Versions: []string{plugin.Version}}
	if err := h.Register(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	r.eventually("there are 3", func() bool { return r.count() == Count{3, 3} })
	h.Deregister(p)
	if r.count() != (Count{3, 0}) {
		t.Errorf("after it has gone there are %v", r.count())
	}
	for _, c := range []struct{ name, version, want string }{
		{resourceName, "v9", `manager version, v1beta1, is not among plugin supported versions [v9]`},
		{"memory", plugin.Version, `invalid name of device plugin socket: the ResourceName "memory" is invalid`},
	} {
		p.Name, p.Versions = c.name, []string{c.version}
		if err := h.Register(t.Context(), p); err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}
