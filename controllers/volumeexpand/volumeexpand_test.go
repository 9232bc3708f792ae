package volumeexpand

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/apiserver/inprocess/inprocesstest"
	"clipper/controllers/controllertest"
	"clipper/controllers/owner"
)

func TestWhoLetsAVolumeGrow(t *testing.T) {
	size := func(s string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(s)}
	}
	for _, tc := range []struct {
		name    string
		source  corev1.PersistentVolumeSource
		has     string
		resizer string
		events  []string
	}{
		{"a driver's", corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "d", VolumeHandle: "h"}}, "1Gi", "",
			[]string{"Normal ExternalExpanding waiting for an external controller to expand this PVC"}},
		{"a driver's that took over", corev1.PersistentVolumeSource{AWSElasticBlockStore: &corev1.AWSElasticBlockStoreVolumeSource{VolumeID: "v"}}, "1Gi", "ebs.csi.aws.com",
			[]string{"Normal ExternalExpanding CSI migration enabled for kubernetes.io/aws-ebs; waiting for external resizer to expand the pvc"}},
		{"large enough", corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "d", VolumeHandle: "h"}}, "2Gi", "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, events := inprocesstest.New(t), &controllertest.Events{}
			ctl := New(c, events)
			class := ""
			claim, err := api.PersistentVolumeClaims.Create(t.Context(), c, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "c"},
				Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: &class, VolumeName: "pv",
					Resources: corev1.VolumeResourceRequirements{Requests: size("2Gi")}}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := api.PersistentVolumes.Create(t.Context(), c, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}, Spec: corev1.PersistentVolumeSpec{
				Capacity: size("1Gi"), AccessModes: claim.Spec.AccessModes, ClaimRef: &corev1.ObjectReference{Namespace: "default", Name: "c", UID: claim.UID},
				PersistentVolumeSource: tc.source}}); err != nil {
				t.Fatal(err)
			}
			if _, err := api.PersistentVolumeClaims.Mutate(t.Context(), c, "default", "c", "status", func(c *corev1.PersistentVolumeClaim) (bool, error) {
				c.Status.Phase, c.Status.Capacity = corev1.ClaimBound, size(tc.has)
				return true, nil
			}); err != nil {
				t.Fatal(err)
			}
			if err := ctl.sync(t.Context(), owner.KeyOf(claim)); err != nil {
				t.Fatal(err)
			}
			claim, _ = api.PersistentVolumeClaims.Get(t.Context(), c, "default", "c")
			if got := claim.Annotations[resizer]; got != tc.resizer {
				t.Errorf("resizer %q, want %q", got, tc.resizer)
			}
			if got := events.Take(); !slices.Equal(got, tc.events) {
				t.Errorf("events %q, want %q", got, tc.events)
			}
		})
	}
}
