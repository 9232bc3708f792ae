package dra

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	drahealth "k8s.io/kubelet/pkg/apis/dra-health/v1alpha1"
	drav1 "k8s.io/kubelet/pkg/apis/dra/v1"
	"k8s.io/utils/ptr"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/node/kubeletdir"
	"clipper/node/plugins"
	"clipper/node/runtime"
)

const driverName = "d.example.com"

// A fake is a driver that tells what it is asked.
type fake struct {
	drav1.UnimplementedDRAPluginServer
	drahealth.UnimplementedDRAResourceHealthServer
	mu     sync.Mutex
	calls  []string
	refuse string
	health chan []*drahealth.DeviceHealth
}

func (f *fake) called() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.calls
	f.calls = nil
	return out
}

func (f *fake) NodePrepareResources(_ context.Context, req *drav1.NodePrepareResourcesRequest) (*drav1.NodePrepareResourcesResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := &drav1.NodePrepareResourcesResponse{Claims: map[string]*drav1.NodePrepareResourceResponse{}}
	for _, c := range req.Claims {
		f.calls = append(f.calls, "prepare "+c.Name)
		out.Claims[c.Uid] = &drav1.NodePrepareResourceResponse{Error: f.refuse, Devices: []*drav1.Device{
			{RequestNames: []string{"r"}, PoolName: "p", DeviceName: "0", CdiDeviceIds: []string{"d.example.com/c=" + c.Name}}}}
	}
	return out, nil
}

func (f *fake) NodeUnprepareResources(_ context.Context, req *drav1.NodeUnprepareResourcesRequest) (*drav1.NodeUnprepareResourcesResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := &drav1.NodeUnprepareResourcesResponse{Claims: map[string]*drav1.NodeUnprepareResourceResponse{}}
	for _, c := range req.Claims {
		f.calls = append(f.calls, "unprepare "+c.Name)
		out.Claims[c.Uid] = &drav1.NodeUnprepareResourceResponse{Error: f.refuse}
	}
	return out, nil
}

func (f *fake) NodeWatchResources(_ *drahealth.NodeWatchResourcesRequest, s grpc.ServerStreamingServer[drahealth.NodeWatchResourcesResponse]) error {
	for {
		select {
		case <-s.Context().Done():
			return nil
		case list := <-f.health:
			if err := s.Send(&drahealth.NodeWatchResourcesResponse{Devices: list}); err != nil {
				return err
			}
		}
	}
}

type rig struct {
	*testing.T
	*Manager
	client *apitest.Client
	dir    kubeletdir.Dir
	sick   chan []types.UID
	active map[types.UID]bool
}

func newRig(t *testing.T, dir kubeletdir.Dir, client *apitest.Client) *rig {
	t.Helper()
	r := &rig{T: t, client: client, dir: dir, sick: make(chan []types.UID, 10), active: map[types.UID]bool{}}
	var err error
	r.Manager, err = New(Config{Client: client, NodeName: "n", Dir: dir, Sick: func(pods []types.UID) { r.sick <- pods }, Active: func(uid types.UID) bool { return r.active[uid] }})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// plug starts a driver and registers it.
func (r *rig) plug(socket string) (*fake, plugins.Plugin) {
	r.Helper()
	f := &fake{health: make(chan []*drahealth.DeviceHealth, 1)}
	server := grpc.NewServer()
	drav1.RegisterDRAPluginServer(server, f)
	drahealth.RegisterDRAResourceHealthServer(server, f)
	path := r.dir.Join(socket)
	listener, err := plugins.Listen(path)
	if err != nil {
		r.Fatal(err)
	}
	go server.Serve(listener)
	r.Cleanup(server.Stop)
	p := plugins.Plugin{Name: driverName, Endpoint: path, Socket: path, Versions: []string{"v1beta1.Old", drav1.DRAPluginService}}
	ctx, cancel := context.WithCancel(r.Context())
	if err := r.Register(ctx, p); err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { r.Deregister(p); cancel() })
	return f, p
}

func (r *rig) claim(name string, users ...*corev1.Pod) {
	c := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID("uid-" + name)}}
	c.Status.Allocation = &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{
		{Request: "r", Driver: driverName, Pool: "p", Device: "0"}}}}
	for _, p := range users {
		c.Status.ReservedFor = append(c.Status.ReservedFor, resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: p.Name, UID: p.UID})
	}
	r.client.Add(api.ResourceClaims.Resource, c)
}

func podOf(name, claim string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID("uid-" + name)}}
	p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "dev", ResourceClaimName: ptr.To(claim)}}
	p.Spec.Containers = []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Claims: []corev1.ResourceClaim{{Name: "dev"}}}}}
	return p
}

func TestClaimIsSharedByPods(t *testing.T) {
	r := newRig(t, kubeletdir.Dir(t.TempDir()), &apitest.Client{})
	f, _ := r.plug("d.sock")
	a, b := podOf("a", "c"), podOf("b", "c")
	r.claim("c", a, b)
	for _, p := range []*corev1.Pod{a, b, a} {
		if err := r.Prepare(t.Context(), p, false); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.called(); !slices.Equal(got, []string{"prepare c"}) {
		t.Errorf("the driver was asked to %q", got)
	}
	spec := &runtime.Container{}
	if err := r.Container(a, &a.Spec.Containers[0], spec); err != nil || !slices.Equal(spec.CDIDevices, []string{"d.example.com/c=c"}) {
		t.Errorf("devices %q, %v", spec.CDIDevices, err)
	}
	if err := r.Unprepare(t.Context(), a); err != nil || f.called() != nil {
		t.Errorf("put away while b uses it: %v", err)
	}
	f.refuse = "busy"
	want := "unprepare dynamic resources: NodeUnprepareResources failed for ResourceClaim c: busy"
	if err := r.Unprepare(t.Context(), b); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	f.refuse = ""
	if err := r.Unprepare(t.Context(), b); err != nil || !slices.Equal(f.called(), []string{"unprepare c", "unprepare c"}) || len(r.claims) != 0 {
		t.Errorf("left %v, %v", r.claims, err)
	}
}

func TestPrepareRefuses(t *testing.T) {
	r := newRig(t, kubeletdir.Dir(t.TempDir()), &apitest.Client{})
	a := podOf("a", "c")
	try := func(want string) {
		t.Helper()
		if err := r.Prepare(t.Context(), a, false); err == nil || err.Error() != "prepare dynamic resources: "+want {
			t.Errorf("got %v, want %s", err, want)
		}
		if len(r.claims) > 0 {
			t.Error("noted nevertheless")
		}
	}
	try(`fetch ResourceClaim c: resourceclaims.resource.k8s.io "c" not found`)
	r.claim("c")
	try("pod a (uid-a) is not allowed to use ResourceClaim c (uid-c)")
	r.claim("c", a)
	try("DRA driver d.example.com is not registered")
	f, _ := r.plug("d.sock")
	f.refuse = "broken"
	want := "prepare dynamic resources: NodePrepareResources failed for ResourceClaim c: broken"
	if err := r.Prepare(t.Context(), a, false); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := r.Unprepare(t.Context(), a); err == nil { // it may have been prepared in part
		t.Error("forgotten although the driver did not put it away")
	}
}

// What a former agent has prepared is put away when its pod has gone meanwhile, and not asked for again while it runs.
func TestNextAgent(t *testing.T) {
	dir, client := kubeletdir.Dir(t.TempDir()), &apitest.Client{}
	r := newRig(t, dir, client)
	f, _ := r.plug("d.sock")
	a, b := podOf("a", "ca"), podOf("b", "cb")
	r.claim("ca", a)
	r.claim("cb", b)
	for _, p := range []*corev1.Pod{a, b} {
		if err := r.Prepare(t.Context(), p, false); err != nil {
			t.Fatal(err)
		}
	}
	f.called()
	next := newRig(t, dir, client)
	next.active[b.UID] = true
	if err := next.Prepare(t.Context(), b, true); err != nil {
		t.Errorf("a running pod waits for the driver: %v", err)
	}
	spec := &runtime.Container{}
	if err := next.Container(b, &b.Spec.Containers[0], spec); err != nil || len(spec.CDIDevices) != 1 {
		t.Errorf("devices %q, %v", spec.CDIDevices, err)
	}
	if err := next.sweep(t.Context()); err == nil {
		t.Error("put away without the driver")
	}
	f2, _ := next.plug("d2.sock")
	if err := next.sweep(t.Context()); err != nil || !slices.Equal(f2.called(), []string{"unprepare ca"}) {
		t.Errorf("after the sweep: %v, %v", next.claims, err)
	}
	if err := next.Prepare(t.Context(), b, false); err != nil || !slices.Equal(f2.called(), []string{"prepare cb"}) {
		t.Errorf("before it starts again it is prepared again: %v", err)
	}
}

func TestHealth(t *testing.T) {
	r := newRig(t, kubeletdir.Dir(t.TempDir()), &apitest.Client{})
	f, _ := r.plug("d.sock")
	a := podOf("a", "c")
	r.claim("c", a)
	if err := r.Prepare(t.Context(), a, false); err != nil {
		t.Fatal(err)
	}
	state := func() string {
		s := r.Health(a, &a.Spec.Containers[0])
		if len(s) != 1 || len(s[0].Resources) != 1 {
			t.Fatalf("health %v", s)
		}
		return fmt.Sprint(s[0].Name, " ", s[0].Resources[0].ResourceID, " ", s[0].Resources[0].Health)
	}
	if got := state(); got != "claim:dev d.example.com/c=c Unknown" {
		t.Error(got)
	}
	f.health <- []*drahealth.DeviceHealth{{Device: &drahealth.DeviceIdentifier{PoolName: "p", DeviceName: "0"}, Health: drahealth.HealthStatus_UNHEALTHY,
		LastUpdatedTime: time.Now().Unix(), HealthCheckTimeoutSeconds: 600, Message: "hot"}}
	select {
	case pods := <-r.sick:
		if !slices.Equal(pods, []types.UID{a.UID}) || state() != "claim:dev d.example.com/c=c Unhealthy" {
			t.Errorf("told of %v; %s", pods, state())
		}
	case <-time.After(10 * time.Second):
		t.Fatal("told of nothing")
	}
}

// What a driver offers is withdrawn when it has been gone for long, and stays if another instance is there.
func TestSlicesAreWithdrawn(t *testing.T) {
	client := &apitest.Client{}
	r := newRig(t, kubeletdir.Dir(t.TempDir()), client)
	for _, s := range []struct{ name, driver, node string }{{"mine", driverName, "n"}, {"other", "e.example.com", "n"}} {
		client.Add(api.ResourceSlices.Resource, &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: s.name},
			Spec: resourcev1.ResourceSliceSpec{Driver: s.driver, NodeName: &s.node}})
	}
	absent := map[string]absence{driverName: {time.Now().Add(-time.Second), time.Second}, "e.example.com": {time.Now().Add(time.Hour), time.Second}}
	_, p := r.plug("d.sock")
	for deadline := time.Now().Add(10 * time.Second); !r.usable(driverName) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	r.wipes.wipeDue(t.Context(), absent)
	if n := len(api.ResourceSlices.View(client).List("")); n != 2 || len(absent) != 1 {
		t.Errorf("with the driver there are %d slices; absent %v", n, absent)
	}
	r.Deregister(p)
	absent[driverName] = absence{time.Now().Add(-time.Second), time.Second}
	r.wipes.wipeDue(t.Context(), absent)
	if left := api.ResourceSlices.View(client).List(""); len(left) != 1 || left[0].Name != "other" {
		t.Errorf("without the driver: %v", left)
	}
}

func TestRegisterRefuses(t *testing.T) {
	r := newRig(t, kubeletdir.Dir(t.TempDir()), &apitest.Client{})
	err := r.Register(t.Context(), plugins.Plugin{Name: "d", Endpoint: "/var/lib/kubelet/plugins/d/s.sock", Versions: []string{"v0"}})
	want := `invalid supported gRPC versions of DRA driver plugin d at endpoint /var/lib/kubelet/plugins/d/s.sock: none of services supported by the plugin (["v0"]) are supported by the kubelet (["v1.DRAPlugin" "v1beta1.DRAPlugin"])`
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestHoldKeepsOthersOut(t *testing.T) {
	r := newRig(t, kubeletdir.Dir(t.TempDir()), &apitest.Client{})
	k := []claimKey{{"ns", "b"}, {"ns", "a"}, {"ns", "b"}}
	release, err := r.hold(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.hold(ctx, k[:1]); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	release()
	if release, err = r.hold(t.Context(), k[:1]); err != nil {
		t.Fatal(err)
	}
	release()
	if len(r.busy) != 0 {
		t.Errorf("still held: %v", r.busy)
	}
}
