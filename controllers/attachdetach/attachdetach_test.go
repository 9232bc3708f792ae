package attachdetach

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/attachment"
	"clipper/apiserver/inprocess/inprocesstest"
	"clipper/controllers/controllertest"
)

const driver, handle = "hostpath.example.com", "vol-1"

type bench struct {
	*testing.T
	*Controller
	c      api.Client
	events *controllertest.Events
	clock  time.Time
}

func newBench(t *testing.T, nodes ...string) *bench {
	c := inprocesstest.New(t)
	b := &bench{T: t, c: c, events: &controllertest.Events{}, clock: time.Now()}
	b.Controller = New(c, b.events)
	b.now = func() time.Time { return b.clock }
	for _, name := range nodes {
		must(t)(api.Nodes.Create(t.Context(), c, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{managed: "true"}}}))
		b.status(name, func(s *corev1.NodeStatus) {
			s.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		})
	}
	return b
}

func must(t *testing.T) func(any, error) {
	return func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

// bound makes a claim that is bound to a volume of the driver.
func (b *bench) bound(name string, mode corev1.PersistentVolumeAccessMode) {
	b.Helper()
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	class := ""
	claim, err := api.PersistentVolumeClaims.Create(b.Context(), b.c, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{mode}, StorageClassName: &class, VolumeName: "pv",
			Resources: corev1.VolumeResourceRequirements{Requests: size}},
	})
	must(b.T)(claim, err)
	must(b.T)(api.PersistentVolumes.Create(b.Context(), b.c, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}, Spec: corev1.PersistentVolumeSpec{
		Capacity: size, AccessModes: claim.Spec.AccessModes, ClaimRef: &corev1.ObjectReference{Namespace: "default", Name: name, UID: claim.UID},
		PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: handle}}}}))
	must(b.T)(api.PersistentVolumeClaims.Mutate(b.Context(), b.c, "default", name, "status", func(c *corev1.PersistentVolumeClaim) (bool, error) {
		c.Status.Phase = corev1.ClaimBound
		return true, nil
	}))
}

func (b *bench) pod(name, node, claim string) *corev1.Pod {
	b.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: controllertest.Template("").Spec}
	p.Spec.NodeName = node
	p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}}
	p, err := api.Pods.Create(b.Context(), b.c, p)
	must(b.T)(p, err)
	b.podChanged(api.Event{Type: api.Added, New: p})
	return p
}

func (b *bench) status(node string, change func(*corev1.NodeStatus)) {
	b.Helper()
	must(b.T)(api.Nodes.Mutate(b.Context(), b.c, "", node, "status", func(n *corev1.Node) (bool, error) { change(&n.Status); return true, nil }))
}

// use plays the kubelet.
func (b *bench) use(node string, names ...corev1.UniqueVolumeName) {
	b.status(node, func(s *corev1.NodeStatus) { s.VolumesInUse = names })
}

// answer plays the driver's attacher.
func (b *bench) answer(node string, change func(*storagev1.VolumeAttachmentStatus)) {
	b.Helper()
	must(b.T)(api.VolumeAttachments.Mutate(b.Context(), b.c, "", attachment.Name(driver, handle, node), "status", func(a *storagev1.VolumeAttachment) (bool, error) {
		change(&a.Status)
		return true, nil
	}))
}

func (b *bench) look() {
	b.Helper()
	if err := b.sync(b.Context()); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) attachedTo() (nodes []string) {
	for _, a := range api.VolumeAttachments.View(b.c).List("") {
		nodes = append(nodes, a.Spec.NodeName)
	}
	slices.Sort(nodes)
	return nodes
}

func (b *bench) reported(node string) bool {
	n, _ := api.Nodes.View(b.c).Get("", node)
	return slices.ContainsFunc(n.Status.VolumesAttached, named(attachment.Volume(driver, handle)))
}

func (b *bench) check(what string, want ...string) {
	b.Helper()
	if got := b.attachedTo(); !slices.Equal(got, want) {
		b.Errorf("%s: attached to %v, want %v", what, got, want)
	}
}

func TestAVolumeMovesWithItsPod(t *testing.T) {
	b := newBench(t, "n1", "n2")
	b.bound("c", corev1.ReadWriteOnce)
	first := b.pod("first", "n1", "c")
	b.look()
	b.check("a pod came", "n1")
	if b.reported("n1") {
		t.Error("the node is told that the volume is attached before it is")
	}
	b.answer("n1", func(s *storagev1.VolumeAttachmentStatus) {
		s.AttachError = &storagev1.VolumeError{Message: "busy", Time: metav1.Now()}
	})
	b.look()
	b.look()
	if got := b.events.Take(); len(got) != 1 || got[0] != `Warning FailedAttachVolume AttachVolume.Attach failed for volume "pv" : busy` {
		t.Errorf("events: %q", got)
	}
	b.answer("n1", func(s *storagev1.VolumeAttachmentStatus) { s.Attached, s.AttachError = true, nil })
	b.look()
	b.look()
	if !b.reported("n1") {
		t.Error("the node is not told")
	}
	if got := b.events.Take(); len(got) != 1 || got[0] != `Normal SuccessfulAttachVolume AttachVolume.Attach succeeded for volume "pv" ` {
		t.Errorf("events: %q", got)
	}
	b.use("n1", attachment.Volume(driver, handle))

	b.pod("second", "n2", "c")
	b.look()
	b.look()
	b.check("another node wants it too", "n1")
	if got := b.events.Take(); len(got) != 1 || got[0] != `Warning FailedAttachVolume Multi-Attach error for volume "pv" Volume is already used by pod(s) first` {
		t.Errorf("events: %q", got)
	}
	controllertest.Kill(t, b.c, first)
	b.podChanged(api.Event{Type: api.Deleted, Old: first})
	b.look()
	b.check("the pod went, the node still uses it", "n1")
	b.use("n1")
	b.look() // detaches
	b.look() // attaches
	b.check("the node let go", "n2")
	if b.reported("n1") {
		t.Error("the first node is still told that it has the volume")
	}
}

func TestForce(t *testing.T) {
	b := newBench(t, "n1")
	b.bound("c", corev1.ReadWriteOnce)
	p := b.pod("p", "n1", "c")
	b.look()
	b.answer("n1", func(s *storagev1.VolumeAttachmentStatus) { s.Attached = true })
	b.look()
	b.use("n1", attachment.Volume(driver, handle))
	controllertest.Kill(t, b.c, p)
	b.podChanged(api.Event{Type: api.Deleted, Old: p})
	b.status("n1", func(s *corev1.NodeStatus) { s.Conditions[0].Status = corev1.ConditionUnknown })
	b.look()
	b.clock = b.clock.Add(forceAfter - time.Second)
	b.look()
	b.check("a node is silent", "n1")
	b.clock = b.clock.Add(2 * time.Second)
	b.look()
	b.check("a node has been silent for long")
}

func TestOthersAttachmentsAreLeftAlone(t *testing.T) {
	b := newBench(t, "n1")
	name := "pv"
	must(t)(api.VolumeAttachments.Create(t.Context(), b.c, &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: "mine"},
		Spec: storagev1.VolumeAttachmentSpec{Attacher: driver, NodeName: "n1", Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &name}}}))
	b.look()
	b.check("made by somebody else", "n1")
}
