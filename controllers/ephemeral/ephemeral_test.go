package ephemeral

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/apiserver/inprocess/inprocesstest"
	"clipper/controllers/controllertest"
	"clipper/controllers/owner"
)

func TestClaims(t *testing.T) {
	c := inprocesstest.New(t)
	events := &controllertest.Events{}
	ctl := New(c, events)
	spec := corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Mi")}}}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Spec: controllertest.Template("").Spec}
	p.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
		VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"l": "v"}}, Spec: spec}}}}}
	p, err := api.Pods.Create(t.Context(), c, p)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is there
		if err := ctl.sync(t.Context(), owner.KeyOf(p)); err != nil {
			t.Fatal(err)
		}
	}
	claim, err := api.PersistentVolumeClaims.Get(t.Context(), c, "default", "p-scratch")
	if err != nil || !metav1.IsControlledBy(claim, p) || claim.Labels["l"] != "v" {
		t.Fatalf("claim %v, %v", claim, err)
	}

	// A claim of that name that is somebody else's is not taken.
	other := p.DeepCopy()
	other.ObjectMeta = metav1.ObjectMeta{Namespace: "default", Name: "other"}
	other.Spec.NodeName = ""
	if other, err = api.Pods.Create(t.Context(), c, other); err != nil {
		t.Fatal(err)
	}
	foreign := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "other-scratch"}, Spec: spec}
	if _, err := api.PersistentVolumeClaims.Create(t.Context(), c, foreign); err != nil {
		t.Fatal(err)
	}
	if err := ctl.sync(t.Context(), owner.KeyOf(other)); err == nil {
		t.Error("took a claim that is not the pod's")
	}
	want := "Warning FailedBinding ephemeral volume scratch: PVC default/other-scratch was not created for pod default/other (pod is not owner)"
	if got := events.Take(); len(got) != 1 || got[0] != want {
		t.Errorf("events: %q", got)
	}
}
