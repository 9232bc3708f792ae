package persistentvolume

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/apiserver/inprocess"
	"clipper/apiserver/inprocess/inprocesstest"
	"clipper/controllers/controllertest"
)

func volume(name, size, class string, modes ...corev1.PersistentVolumeAccessMode) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{
		Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}, AccessModes: modes, StorageClassName: class,
		PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
		PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/mnt/" + name}},
	}, Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeAvailable}}
}

func claim(name, size string, class *string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: class,
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}},
	}}
}

func ptr[T any](v T) *T { return &v }

func TestMatch(t *testing.T) {
	const rwo, rwx = corev1.ReadWriteOnce, corev1.ReadWriteMany
	c := claim("c", "3Gi", ptr("manual"))
	c.UID = "uid"
	taken := volume("taken", "3Gi", "manual", rwo)
	taken.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "default", Name: "c", UID: "an earlier one"}
	reserved := volume("reserved", "50Gi", "other", rwx)
	reserved.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "default", Name: "c"}
	block := volume("block", "3Gi", "manual", rwo)
	block.Spec.VolumeMode = ptr(corev1.PersistentVolumeBlock)
	released := volume("released", "3Gi", "manual", rwo)
	released.Status.Phase = corev1.VolumeReleased
	for _, tc := range []struct {
		name string
		all  []*corev1.PersistentVolume
		wait bool
		want string
	}{
		{"none", nil, false, ""},
		{"the smallest that suffices", []*corev1.PersistentVolume{volume("big", "10Gi", "manual", rwo), volume("fit", "4Gi", "manual", rwo), volume("small", "1Gi", "manual", rwo)}, false, "fit"},
		{"of its class", []*corev1.PersistentVolume{volume("a", "4Gi", "", rwo), volume("b", "4Gi", "fast", rwo)}, false, ""},
		{"with its modes", []*corev1.PersistentVolume{volume("a", "4Gi", "manual", rwx), volume("b", "9Gi", "manual", rwx, rwo)}, false, "b"},
		{"not another's, a block device or a released one", []*corev1.PersistentVolume{taken, block, released}, false, ""},
		{"one reserved for it, whatever its class", []*corev1.PersistentVolume{volume("fit", "3Gi", "manual", rwo), reserved}, false, "reserved"},
		{"delayed: none by itself", []*corev1.PersistentVolume{volume("fit", "3Gi", "manual", rwo)}, true, ""},
		{"delayed: one that the scheduler reserved", []*corev1.PersistentVolume{volume("fit", "3Gi", "manual", rwo), reserved}, true, "reserved"},
	} {
		got, err := match(c, tc.all, tc.wait)
		name := ""
		if got != nil {
			name = got.Name
		}
		if err != nil || name != tc.want {
			t.Errorf("%s: %q, want %q; %v", tc.name, name, tc.want, err)
		}
	}
	c.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"disk": "ssd"}}
	labelled := volume("labelled", "9Gi", "manual", rwo)
	labelled.Labels = map[string]string{"disk": "ssd"}
	if got, _ := match(c, []*corev1.PersistentVolume{volume("fit", "3Gi", "manual", rwo), labelled}, false); got != labelled {
		t.Errorf("by label: %v", got)
	}
}

func TestPendingClaimsSayWhy(t *testing.T) {
	class := func(provisioner string, mode storagev1.VolumeBindingMode) *storagev1.StorageClass {
		return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Provisioner: provisioner, VolumeBindingMode: &mode}
	}
	const now, later = storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer
	for _, tc := range []struct {
		name, want, provisioner string
		claim                   *corev1.PersistentVolumeClaim
		class                   *storagev1.StorageClass
	}{
		{"no class", "Normal FailedBinding no persistent volumes available for this claim and no storage class is set", "", claim("a", "1Gi", ptr("")), nil},
		{"class missing", `Warning ProvisioningFailed storageclass.storage.k8s.io "c" not found`, "", claim("a", "1Gi", ptr("c")), nil},
		{"in-tree driver", "Normal ExternalProvisioning Waiting for a volume to be created either by the external provisioner 'ebs.csi.aws.com' or manually", "ebs.csi.aws.com", claim("a", "1Gi", ptr("c")), class("kubernetes.io/aws-ebs", now)},
		{"external driver", "Normal ExternalProvisioning Waiting for a volume to be created either by the external provisioner 'example.com/nfs' or manually", "example.com/nfs", claim("a", "1Gi", ptr("c")), class("example.com/nfs", now)},
		{"later", "Normal WaitForFirstConsumer waiting for first consumer to be created before binding", "", claim("a", "1Gi", ptr("c")), class("example.com/nfs", later)},
	} {
		p := planClaim(tc.claim, nil, nil, tc.class)
		if len(p.Events) != 1 || p.Phase != corev1.ClaimPending || p.Provisioner != tc.provisioner {
			t.Errorf("%s: %+v", tc.name, p)
			continue
		}
		if got := p.Events[0].kind + " " + p.Events[0].reason + " " + p.Events[0].message; !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s: %s", tc.name, got)
		}
	}
	placed := claim("a", "1Gi", ptr("c"))
	placed.Annotations = map[string]string{selectedNode: "n"}
	if p := planClaim(placed, nil, nil, class("example.com/nfs", later)); p.Provisioner != "example.com/nfs" {
		t.Errorf("with a node selected: %+v", p)
	}
}

// settle syncs everything until nothing changes.
func settle(t *testing.T, c *inprocess.Client, ctl *Controller) {
	t.Helper()
	for range 3 {
		for _, v := range api.PersistentVolumes.View(c).List("") {
			if err := ctl.sync(t.Context(), item{Name: v.Name}); err != nil {
				t.Fatal(err)
			}
		}
		for _, cl := range api.PersistentVolumeClaims.View(c).List("") {
			if err := ctl.sync(t.Context(), item{Namespace: cl.Namespace, Name: cl.Name}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestLifeOfAVolume(t *testing.T) {
	c := inprocesstest.New(t)
	ctl := New(c, &controllertest.Events{})
	if _, err := api.PersistentVolumes.Create(t.Context(), c, volume("v", "10Gi", "manual", corev1.ReadWriteOnce)); err != nil {
		t.Fatal(err)
	}
	settle(t, c, ctl)
	get := func() *corev1.PersistentVolume {
		v, _ := api.PersistentVolumes.View(c).Get("", "v")
		return v
	}
	if get().Status.Phase != corev1.VolumeAvailable {
		t.Fatalf("phase %s", get().Status.Phase)
	}
	for _, name := range []string{"first", "second"} {
		if _, err := api.PersistentVolumeClaims.Create(t.Context(), c, claim(name, "3Gi", ptr("manual"))); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, c, ctl)
	first, _ := api.PersistentVolumeClaims.View(c).Get("default", "first")
	second, _ := api.PersistentVolumeClaims.View(c).Get("default", "second")
	size := first.Status.Capacity[corev1.ResourceStorage]
	if first.Status.Phase != corev1.ClaimBound || first.Spec.VolumeName != "v" || size.String() != "10Gi" || first.Annotations[bindCompleted] != "yes" {
		t.Errorf("first claim %+v %+v", first.Spec, first.Status)
	}
	if second.Status.Phase != corev1.ClaimPending || second.Spec.VolumeName != "" {
		t.Errorf("second claim %+v", second.Status)
	}
	if v := get(); v.Status.Phase != corev1.VolumeBound || v.Spec.ClaimRef.UID != first.UID {
		t.Errorf("volume %+v %+v", v.Spec.ClaimRef, v.Status)
	}
	if err := testutil.CollectAndCompare(Collectors(c)[0], strings.NewReader(`
# HELP pv_collector_bound_pv_count Gauge measuring number of persistent volume currently bound
# TYPE pv_collector_bound_pv_count gauge
pv_collector_bound_pv_count{storage_class="manual"} 1
# HELP pv_collector_bound_pvc_count Gauge measuring number of persistent volume claim currently bound
# TYPE pv_collector_bound_pvc_count gauge
pv_collector_bound_pvc_count{namespace="default",storage_class="manual",volume_attributes_class=""} 1
# HELP pv_collector_total_pv_count Gauge measuring total number of persistent volumes
# TYPE pv_collector_total_pv_count gauge
pv_collector_total_pv_count{plugin_name="kubernetes.io/host-path",volume_mode="Filesystem"} 1
# HELP pv_collector_unbound_pvc_count Gauge measuring number of persistent volume claim currently unbound
# TYPE pv_collector_unbound_pvc_count gauge
pv_collector_unbound_pvc_count{namespace="default",storage_class="manual",volume_attributes_class=""} 1
`)); err != nil {
		t.Error(err)
	}
	before := get().ResourceVersion
	if settle(t, c, ctl); get().ResourceVersion != before {
		t.Error("a settled volume was written again")
	}
	if _, err := api.PersistentVolumeClaims.Mutate(t.Context(), c, "default", "first", "", func(c *corev1.PersistentVolumeClaim) (bool, error) {
		c.Finalizers = nil
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := api.PersistentVolumeClaims.Delete(t.Context(), c, "default", "first", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	settle(t, c, ctl)
	second, _ = api.PersistentVolumeClaims.View(c).Get("default", "second")
	if get().Status.Phase != corev1.VolumeReleased || second.Status.Phase != corev1.ClaimPending {
		t.Errorf("a retained volume is %s, the next claim %s", get().Status.Phase, second.Status.Phase)
	}
}

func TestClaimThatNamesItsVolume(t *testing.T) {
	c := inprocesstest.New(t)
	events := &controllertest.Events{}
	ctl := New(c, events)
	for _, v := range []*corev1.PersistentVolume{volume("small", "1Gi", "", corev1.ReadWriteOnce), volume("right", "5Gi", "", corev1.ReadWriteOnce)} {
		if _, err := api.PersistentVolumes.Create(t.Context(), c, v); err != nil {
			t.Fatal(err)
		}
	}
	for name, v := range map[string]string{"a": "small", "b": "right"} {
		cl := claim(name, "3Gi", ptr(""))
		cl.Spec.VolumeName = v
		if _, err := api.PersistentVolumeClaims.Create(t.Context(), c, cl); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, c, ctl)
	a, _ := api.PersistentVolumeClaims.View(c).Get("default", "a")
	b, _ := api.PersistentVolumeClaims.View(c).Get("default", "b")
	if a.Status.Phase != corev1.ClaimPending || b.Status.Phase != corev1.ClaimBound {
		t.Errorf("a is %s, b is %s", a.Status.Phase, b.Status.Phase)
	}
	if !events.Contains(`Warning VolumeMismatch Cannot bind to requested volume "small": requested PV is too small`) {
		t.Errorf("events %v", events.Take())
	}
}

func TestDefaultClassThatComesLater(t *testing.T) {
	c := inprocesstest.New(t)
	ctl := New(c, &controllertest.Events{})
	for name, class := range map[string]*string{"open": nil, "none": ptr("")} {
		if _, err := api.PersistentVolumeClaims.Create(t.Context(), c, claim(name, "1Gi", class)); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, c, ctl)
	if _, err := api.StorageClasses.Create(t.Context(), c, &storagev1.StorageClass{Provisioner: "example.com/nfs",
		ObjectMeta: metav1.ObjectMeta{Name: "std", Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}}}); err != nil {
		t.Fatal(err)
	}
	settle(t, c, ctl)
	open, _ := api.PersistentVolumeClaims.View(c).Get("default", "open")
	none, _ := api.PersistentVolumeClaims.View(c).Get("default", "none")
	if open.Spec.StorageClassName == nil || *open.Spec.StorageClassName != "std" || open.Annotations[storageProvisioner] != "example.com/nfs" {
		t.Errorf("claim that left it open: %v %v", open.Spec.StorageClassName, open.Annotations)
	}
	if *none.Spec.StorageClassName != "" {
		t.Errorf("claim that wanted none: %v", *none.Spec.StorageClassName)
	}
}
