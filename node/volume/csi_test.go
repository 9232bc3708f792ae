package volume

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"clipper/api"
	"clipper/api/attachment"
	"clipper/node/plugins"
	"clipper/node/volume/fsgroup"
	"clipper/test/csidriver/hostpath"
)

const driverName = "hostpath.csi.example.com"

// csiBench is a bench with a driver, real but for its process.
type csiBench struct {
	*bench
	driver *hostpath.Driver
	plugin plugins.Plugin
	ctx    context.Context
}

func newCSIBench(t *testing.T, spec storagev1.CSIDriverSpec) *csiBench {
	b := &csiBench{bench: newBench(t)}
	ctx, cancel := context.WithCancel(context.Background())
	b.ctx = ctx
	b.driver = &hostpath.Driver{Name: driverName, NodeID: "n", Data: t.TempDir(), Host: b.cfg.RootDir.Host}
	socket := t.TempDir() + "/csi.sock"
	b.plugin = plugins.Plugin{Name: driverName, Endpoint: socket, Versions: []string{"1.0.0"}, Socket: socket}
	served := make(chan struct{})
	go func() { defer close(served); _ = b.driver.Serve(ctx, socket) }()
	t.Cleanup(func() { cancel(); <-served })
	if err := hostpath.Wait(ctx, socket); err != nil {
		t.Fatal(err)
	}
	b.create(api.Nodes.Resource, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}})
	b.create(api.CSIDrivers.Resource, &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: driverName}, Spec: spec})
	if err := b.Drivers().Register(ctx, b.plugin); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *csiBench) create(r api.Resource, o api.Object) api.Object {
	b.t.Helper()
	o, err := b.client.Create(b.ctx, r, o, metav1.CreateOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	return o
}

// bound makes a claim that is bound to a volume of the driver, and returns what a pod says to use it.
func (b *csiBench) bound(name string, block bool, modes ...corev1.PersistentVolumeAccessMode) corev1.Volume {
	b.t.Helper()
	size := resource.MustParse("1Mi")
	if err := hostpath.Create(b.driver.Data, "vol-"+name, hostpath.Meta{Block: block, Size: size.Value()}); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if err := hostpath.Delete(b.driver.Data, "vol-"+name); err != nil {
			b.t.Error(err)
		}
	})
	capacity := corev1.ResourceList{corev1.ResourceStorage: size}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
	claim.Spec.VolumeName, claim.Spec.AccessModes = "pv-"+name, modes
	claim.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound, Capacity: capacity}
	created := b.create(api.PersistentVolumeClaims.Resource, claim)
	pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-" + name}, Spec: corev1.PersistentVolumeSpec{
		Capacity: capacity, AccessModes: modes, ClaimRef: &corev1.ObjectReference{Namespace: "ns", Name: name, UID: created.GetUID()},
		PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driverName, VolumeHandle: "vol-" + name, FSType: "ext4"}}}}
	if block {
		pv.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeBlock)
	}
	b.create(api.PersistentVolumes.Resource, pv)
	return vol(name, corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}})
}

func named(uid string, p *corev1.Pod) *corev1.Pod {
	p.Name, p.UID = uid, types.UID(uid)
	return p
}

// calls returns the methods that the driver was asked for since the last time, with what failed. The driver must be at
// rest.
func (b *csiBench) calls() (out []string) {
	list, _ := hostpath.Calls(b.driver.Data, "n")
	for _, c := range list {
		if c.Method == "NodeGetInfo" {
			continue
		}
		if c.Error != "" {
			c.Method += "!"
		}
		out = append(out, c.Method)
	}
	_ = os.Remove(filepath.Join(b.driver.Data, "calls", "n"))
	return out
}

// awaitCall returns once a call of a method has failed.
func (b *csiBench) awaitCall(method string) {
	b.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		list, _ := hostpath.Calls(b.driver.Data, "n") // a line may be half written
		if slices.ContainsFunc(list, func(c hostpath.Call) bool { return c.Method == method && c.Error != "" }) {
			return
		}
	}
	b.t.Fatalf("no call of %s has failed", method)
}

func (b *csiBench) want(what string, calls ...string) {
	b.t.Helper()
	if got := b.calls(); !slices.Equal(got, calls) {
		b.t.Errorf("%s: the driver was asked for %v, want %v", what, got, calls)
	}
}

func (b *csiBench) fault(method, how string) {
	path := filepath.Join(b.driver.Data, "faults", method)
	if how == "" {
		_ = os.Remove(path)
		return
	}
	if err := os.WriteFile(path, []byte(how), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *csiBench) mount(pod *corev1.Pod) {
	b.t.Helper()
	if err := b.Mount(b.ctx, pod); err != nil {
		b.t.Fatal(err)
	}
}

func (b *csiBench) unmount(pod *corev1.Pod) {
	b.t.Helper()
	if err := b.Unmount(b.ctx, pod.UID); err != nil {
		b.t.Fatal(err)
	}
}

// nothingLeft fails if anything of a driver's volumes is left on the node.
func (b *csiBench) nothingLeft() {
	b.t.Helper()
	for _, pattern := range []string{"plugins/kubernetes.io/csi/" + driverName + "/*", "pods/*/*", "plugins/kubernetes.io/csi/volumeDevices/*/*"} {
		if left, _ := filepath.Glob(b.cfg.RootDir.Join(pattern)); len(left) > 0 {
			b.t.Errorf("left behind: %v", left)
		}
	}
	if names, _ := b.InUse(); len(names) > 0 {
		b.t.Errorf("still in use: %v", names)
	}
}

var noAttach = storagev1.CSIDriverSpec{AttachRequired: ptr.To(false), FSGroupPolicy: ptr.To(storagev1.FileFSGroupPolicy),
	VolumeLifecycleModes: []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral}}

func TestPodsShareAStagedVolume(t *testing.T) {
	b := newCSIBench(t, noAttach)
	v := b.bound("data", false, corev1.ReadWriteOnce)
	one, two := named("one", podWith(v)), named("two", podWith(v))
	b.mount(one)
	b.want("the first pod", "NodeStageVolume", "NodePublishVolume")
	b.mount(one)
	b.want("again")
	b.mount(two)
	b.want("the second pod", "NodePublishVolume")
	path, err := b.Path(b.ctx, one, "c", &corev1.VolumeMount{Name: "data", MountPath: "/d"}, "")
	if err != nil {
		t.Fatal(err)
	}
	if want := b.cfg.RootDir.Join("pods/one/volumes/kubernetes.io~csi/pv-data/mount"); path != want {
		t.Errorf("path %s, want %s", path, want)
	}
	if err := os.WriteFile(path+"/f", []byte("kept"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := b.read(two, "data", "f"); got != "kept" {
		t.Errorf("the other pod reads %q", got)
	}
	b.unmount(one)
	b.want("the first pod left", "NodeUnpublishVolume")
	b.unmount(two)
	b.want("the second pod left", "NodeUnpublishVolume", "NodeUnstageVolume")
	b.nothingLeft()
	if data, err := os.ReadFile(filepath.Join(b.driver.Data, "volumes/vol-data/data/f")); err != nil || string(data) != "kept" {
		t.Errorf("the data after all that: %q, %v", data, err)
	}
}

func TestVolumeIsAttachedFirst(t *testing.T) {
	spec := noAttach
	spec.AttachRequired = nil
	b := newCSIBench(t, spec)
	reported := make(chan []corev1.UniqueVolumeName, 10)
	b.cfg.InUseChanged = func() { names, _ := b.InUse(); reported <- names }
	ctx, cancel := context.WithCancel(b.ctx)
	ran := make(chan struct{})
	go func() { defer close(ran); _ = b.Run(ctx) }()
	defer func() { cancel(); <-ran }()
	pod := podWith(b.bound("data", false, corev1.ReadWriteOnce))
	mounted := make(chan error, 1)
	go func() { mounted <- b.Mount(ctx, pod) }()

	name := attachment.Volume(driverName, "vol-data")
	if got := <-reported; !slices.Equal(got, []corev1.UniqueVolumeName{name}) {
		t.Fatalf("in use: %v", got)
	}
	va := &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: attachment.Name(driverName, "vol-data", "n")}}
	va.Status = storagev1.VolumeAttachmentStatus{Attached: true, AttachmentMetadata: map[string]string{"device": "x"}}
	b.create(api.VolumeAttachments.Resource, va)
	select {
	case err := <-mounted:
		t.Fatalf("mounted before the node's status said so: %v", err)
	default:
	}
	if _, err := api.Nodes.Mutate(ctx, b.client, "", "n", "status", func(n *corev1.Node) (bool, error) {
		n.Status.VolumesInUse = []corev1.UniqueVolumeName{name}
		n.Status.VolumesAttached = []corev1.AttachedVolume{{Name: name}}
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := <-mounted; err != nil {
		t.Fatal(err)
	}
	for _, c := range must(hostpath.Calls(b.driver.Data, "n")) {
		if strings.HasPrefix(c.Method, "NodeStage") && !strings.Contains(string(c.Request), `"device":"x"`) {
			t.Errorf("staged without what the attacher said: %s", c.Request)
		}
	}
	b.unmount(pod)
	if got := <-reported; len(got) != 0 {
		t.Errorf("in use: %v", got)
	}
	b.nothingLeft()
}

func TestNodeCanHaveNoMore(t *testing.T) {
	spec := noAttach
	spec.AttachRequired, spec.NodeAllocatableUpdatePeriodSeconds = nil, ptr.To(int64(600))
	b := newCSIBench(t, spec)
	b.attachTimeout = 10 * time.Millisecond
	pod := podWith(b.bound("data", false, corev1.ReadWriteOnce))
	va := &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: attachment.Name(driverName, "vol-data", "n")}}
	va.Status.AttachError = &storagev1.VolumeError{Message: "full", ErrorCode: ptr.To(int32(8))}
	b.create(api.VolumeAttachments.Resource, va)
	err := b.Mount(b.ctx, pod)
	var limit *LimitError
	if !errors.As(err, &limit) {
		t.Fatalf("err = %v", err)
	}
	reason, message := limit.Refusal()
	if want := "Node has reached its volume attachment limit, rejecting pod. unmounted volumes=[data], unattached volumes=[data], failed to process volumes=[]: context deadline exceeded"; reason != "VolumeAttachmentLimitExceeded" || message != want {
		t.Errorf("%s: %s", reason, message)
	}
	b.unmount(pod)
	b.nothingLeft()
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestEphemeralVolumeKnowsItsPod(t *testing.T) {
	spec := noAttach
	spec.PodInfoOnMount = ptr.To(true)
	spec.TokenRequests = []storagev1.TokenRequest{{Audience: "storage"}}
	b := newCSIBench(t, spec)
	b.put(&corev1.Secret{Data: map[string][]byte{"user": []byte("me")}}, api.Secrets.Resource, "login")
	pod := podWith(vol("scratch", corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: driverName,
		VolumeAttributes: map[string]string{"a": "1"}, NodePublishSecretRef: &corev1.LocalObjectReference{Name: "login"}}}))
	b.mount(pod)
	list := must(hostpath.Calls(b.driver.Data, "n"))
	var r struct {
		VolumeContext map[string]string `json:"volume_context"`
		Secrets       map[string]string
	}
	if err := json.Unmarshal(list[len(list)-1].Request, &r); err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]string{"a": "1", "csi.storage.k8s.io/pod.name": "p", "csi.storage.k8s.io/pod.namespace": "ns",
		"csi.storage.k8s.io/pod.uid": "uid-1", "csi.storage.k8s.io/ephemeral": "true"} {
		if r.VolumeContext[k] != want {
			t.Errorf("%s = %q, want %q", k, r.VolumeContext[k], want)
		}
	}
	if r.Secrets["user"] != "me" || !strings.Contains(r.VolumeContext["csi.storage.k8s.io/serviceAccount.tokens"], `{"storage":{"token":"token-1-of-ns-default"`) {
		t.Errorf("request: %s", list[len(list)-1].Request)
	}
	b.calls()
	b.unmount(pod)
	b.want("the pod left", "NodeUnpublishVolume")
	b.nothingLeft()
}

func TestBlockVolume(t *testing.T) {
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("there are no loop devices here")
	}
	b := newCSIBench(t, noAttach)
	pod := podWith(b.bound("raw", true, corev1.ReadWriteOnce))
	pod.Spec.Containers[0].VolumeDevices = []corev1.VolumeDevice{{Name: "raw", DevicePath: "/dev/x"}}
	b.mount(pod)
	path, readOnly, err := b.Device(pod, "raw")
	if err != nil || readOnly {
		t.Fatal(path, readOnly, err)
	}
	if err := os.WriteFile(path, []byte("on the device"), 0); err != nil {
		t.Error(err)
	}
	b.unmount(pod)
	b.want("all", "NodeStageVolume", "NodePublishVolume", "NodeUnpublishVolume", "NodeUnstageVolume")
	b.nothingLeft()

	pod = podWith(pod.Spec.Volumes[0])
	pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "raw", MountPath: "/m"}}
	if err := b.Mount(b.ctx, pod); err == nil || !strings.Contains(err.Error(), "volume raw has volumeMode Block, but is specified in volumeMounts") {
		t.Errorf("err = %v", err)
	}
}

func TestOnePodOnly(t *testing.T) {
	b := newCSIBench(t, noAttach)
	v := b.bound("data", false, corev1.ReadWriteOncePod)
	one, two := named("one", podWith(v)), named("two", podWith(v))
	b.mount(one)
	err := b.Mount(b.ctx, two)
	if want := `MountVolume.SetUp failed for volume "pv-data" : volume uses the ReadWriteOncePod access mode and is already in use by another pod`; err == nil || err.Error() != want {
		t.Errorf("err = %v", err)
	}
	b.unmount(one)
	b.mount(two)
	b.unmount(two)
	b.nothingLeft()
}

func TestGroupOwnsTheVolume(t *testing.T) {
	b := newCSIBench(t, noAttach)
	pod := podWith(b.bound("data", false, corev1.ReadWriteOnce))
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr.To(int64(4242))}
	inside := filepath.Join(b.driver.Data, "volumes/vol-data/data/deep")
	if err := os.MkdirAll(inside, 0o700); err != nil {
		t.Fatal(err)
	}
	b.mount(pod)
	if !fsgroup.Has(inside, 4242) {
		t.Error("the group does not own what was in the volume")
	}
	b.unmount(pod)

	// With a root that is as it should be, what lies below is not looked at.
	if err := os.Chown(inside, 0, 0); err != nil {
		t.Fatal(err)
	}
	pod.Spec.SecurityContext.FSGroupChangePolicy = ptr.To(corev1.FSGroupChangeOnRootMismatch)
	b.mount(pod)
	if fsgroup.Has(inside, 4242) {
		t.Error("OnRootMismatch looked below a root that matches")
	}
	b.unmount(pod)
}

func TestFailuresOfADriver(t *testing.T) {
	b := newCSIBench(t, noAttach)
	pod := podWith(b.bound("data", false, corev1.ReadWriteOnce))
	for _, tc := range []struct{ method, code, want string }{
		{"NodeStageVolume", "INTERNAL", `MountVolume.MountDevice failed for volume "pv-data" : rpc error: code = Internal desc = asked to fail`},
		{"NodePublishVolume", "UNAVAILABLE", `MountVolume.SetUp failed for volume "pv-data" : rpc error: code = Unavailable desc = asked to fail`},
	} {
		b.fault(tc.method, tc.code)
		if err := b.Mount(b.ctx, pod); err == nil || err.Error() != tc.want {
			t.Errorf("err = %v, want %s", err, tc.want)
		}
		b.fault(tc.method, "")
	}
	if _, err := os.Stat(b.cfg.RootDir.Join("pods/uid-1/volumes/kubernetes.io~csi/pv-data/vol_data.json")); err != nil {
		t.Error("a publish whose end is not known has been forgotten")
	}
	b.calls()
	b.fault("NodeUnpublishVolume", "INTERNAL")
	if err := b.Unmount(b.ctx, pod.UID); err == nil || !strings.Contains(err.Error(), "asked to fail") {
		t.Errorf("err = %v", err)
	}
	b.fault("NodeUnpublishVolume", "")
	b.unmount(pod)
	b.want("taken down", "NodeUnpublishVolume!", "NodeUnpublishVolume", "NodeUnstageVolume")
	b.nothingLeft()
}

// An agent that was killed in the middle of things leaves pods that are gone when the next one starts, and a driver
// that comes later still.
func TestLeftoversOfAKilledAgent(t *testing.T) {
	b := newCSIBench(t, noAttach)
	published, staged := named("published", podWith(b.bound("a", false, corev1.ReadWriteOnce))), named("staged", podWith(b.bound("b", false, corev1.ReadWriteOnce)))
	b.mount(published)
	b.fault("NodePublishVolume", "hang")
	ctx, cancel := context.WithTimeout(b.ctx, 300*time.Millisecond)
	defer cancel()
	if err := b.Mount(ctx, staged); err == nil {
		t.Fatal("a hanging driver has published a volume")
	}
	b.fault("NodePublishVolume", "")
	b.awaitCall("NodePublishVolume") // the driver learns a little later that nobody waits any more
	b.calls()

	next := New(b.cfg)
	next.cfg.Client = newBench(t).client // which knows nothing
	if _, ok := next.InUse(); ok {
		t.Error("an agent that has not looked yet says that it knows what is in use")
	}
	if err := next.Sweep(context.Background(), func(types.UID) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if names, ok := next.InUse(); !ok || len(names) != 2 {
		t.Errorf("in use: %v, %v", names, ok)
	}
	next.round(b.ctx)
	b.want("no driver")
	next.csi.Deregister(b.plugin)
	_, _ = next.cfg.Client.Create(b.ctx, api.Nodes.Resource, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, metav1.CreateOptions{})
	if err := next.Drivers().Register(b.ctx, b.plugin); err != nil {
		t.Fatal(err)
	}
	for next.round(b.ctx) {
		if b.ctx.Err() != nil || t.Context().Err() != nil {
			t.Fatal("never done")
		}
	}
	got := b.calls()
	slices.Sort(got)
	if want := []string{"NodeUnpublishVolume", "NodeUnpublishVolume", "NodeUnstageVolume", "NodeUnstageVolume"}; !slices.Equal(got, want) {
		t.Errorf("the driver was asked for %v, want %v", got, want)
	}
	b.Manager = next
	b.nothingLeft()
}

func TestVolumeGrows(t *testing.T) {
	b := newCSIBench(t, noAttach)
	pod := podWith(b.bound("data", false, corev1.ReadWriteOnce))
	b.mount(pod)
	b.calls()
	large := resource.MustParse("2Mi")
	must(api.PersistentVolumes.Mutate(b.ctx, b.client, "", "pv-data", "", func(pv *corev1.PersistentVolume) (bool, error) {
		pv.Spec.Capacity[corev1.ResourceStorage] = large
		return true, nil
	}))
	must(api.PersistentVolumeClaims.Mutate(b.ctx, b.client, "ns", "data", "status", func(c *corev1.PersistentVolumeClaim) (bool, error) {
		c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: large}
		c.Status.AllocatedResources = corev1.ResourceList{corev1.ResourceStorage: large}
		c.Status.AllocatedResourceStatuses = map[corev1.ResourceName]corev1.ClaimResourceStatus{corev1.ResourceStorage: corev1.PersistentVolumeClaimNodeResizePending}
		c.Status.Conditions = []corev1.PersistentVolumeClaimCondition{{Type: corev1.PersistentVolumeClaimFileSystemResizePending, Status: corev1.ConditionTrue}}
		return true, nil
	}))
	b.fault("NodeExpandVolume", "INTERNAL")
	b.round(b.ctx)
	claim := must(api.PersistentVolumeClaims.Get(b.ctx, b.client, "ns", "data"))
	if st := claim.Status; st.AllocatedResourceStatuses[corev1.ResourceStorage] != corev1.PersistentVolumeClaimNodeResizeInProgress || len(st.Conditions) != 2 ||
		st.Conditions[1].Type != corev1.PersistentVolumeClaimNodeResizeError {
		t.Errorf("status after a failure: %+v", st)
	}
	b.fault("NodeExpandVolume", "")
	b.round(b.ctx)
	b.round(b.ctx)
	b.want("it grew", "NodeExpandVolume!", "NodeExpandVolume")
	claim = must(api.PersistentVolumeClaims.Get(b.ctx, b.client, "ns", "data"))
	if st := claim.Status; st.Capacity.Storage().Cmp(large) != 0 || st.AllocatedResourceStatuses != nil || len(st.Conditions) != 0 {
		t.Errorf("status: %+v", st)
	}
	want := []string{
		`Warning VolumeResizeFailed NodeExpandVolume.NodeExpandVolume failed for volume "pv-data" : Expander.NodeExpand failed to expand the volume : rpc error: code = Internal desc = asked to fail`,
		`Normal FileSystemResizeSuccessful MountVolume.NodeExpandVolume succeeded for volume "pv-data" n`,
		`Normal FileSystemResizeSuccessful MountVolume.NodeExpandVolume succeeded for volume "pv-data" n`,
	}
	if got := b.events.take(); !slices.Equal(got, want) {
		t.Errorf("events: %q", got)
	}
	b.unmount(pod)
}

func TestRepublish(t *testing.T) {
	spec := noAttach
	spec.RequiresRepublish = ptr.To(true)
	b := newCSIBench(t, spec)
	pod := podWith(b.bound("data", false, corev1.ReadWriteOnce))
	b.mount(pod)
	b.calls()
	b.round(b.ctx)
	b.want("renewed", "NodePublishVolume")
	b.fault("NodePublishVolume", "INTERNAL")
	b.round(b.ctx)
	if got := b.read(pod, "data", "../vol_data.json"); !strings.Contains(got, `"volumeHandle":"vol-data"`) {
		t.Errorf("after a failure the pod's volume is %s", got)
	}
	b.fault("NodePublishVolume", "")
	b.unmount(pod)
}

func TestNodeTellsOfItsDrivers(t *testing.T) {
	b := newCSIBench(t, noAttach)
	node := must(api.Nodes.Get(b.ctx, b.client, "", "n"))
	if node.Labels[hostpath.TopologyKey] != "n" || node.Annotations["csi.volume.kubernetes.io/nodeid"] != `{"`+driverName+`":"n"}` {
		t.Errorf("labels %v, annotations %v", node.Labels, node.Annotations)
	}
	n := must(api.CSINodes.Get(b.ctx, b.client, "", "n"))
	want := storagev1.CSINodeDriver{Name: driverName, NodeID: "n", TopologyKeys: []string{hostpath.TopologyKey}, Allocatable: &storagev1.VolumeNodeResources{Count: ptr.To(int32(100))}}
	if len(n.Spec.Drivers) != 1 || n.Spec.Drivers[0].String() != want.String() || n.OwnerReferences[0].UID != node.UID {
		t.Errorf("CSINode: %+v", n)
	}
	b.csi.Deregister(plugins.Plugin{Name: driverName, Socket: "an older instance's"})
	if n = must(api.CSINodes.Get(b.ctx, b.client, "", "n")); len(n.Spec.Drivers) != 1 {
		t.Error("the end of an instance that was replaced took the driver away")
	}
	b.csi.Deregister(b.plugin)
	n, node = must(api.CSINodes.Get(b.ctx, b.client, "", "n")), must(api.Nodes.Get(b.ctx, b.client, "", "n"))
	if len(n.Spec.Drivers) != 0 || node.Annotations["csi.volume.kubernetes.io/nodeid"] != "" {
		t.Errorf("after the driver went: %+v, %v", n.Spec, node.Annotations)
	}
	if err := b.Drivers().Register(b.ctx, plugins.Plugin{Name: driverName, Versions: []string{"0.3.0"}, Endpoint: b.plugin.Endpoint}); err == nil {
		t.Error("a driver of version 0.3 was taken")
	}
}
