package pipeline_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/apiserver/apiservertest"
)

// Who follows a resource has seen each write when its answer arrives, whichever way an object comes and goes: IPAddresses
// are there with their service, and gone with it.
func TestFollow(t *testing.T) {
	s := apiservertest.Start(t)
	ctx, c := t.Context(), s.Client
	held := func() (out []string) {
		for _, a := range api.IPAddresses.View(c).List("") {
			if a.Spec.ParentRef.Name == "web" {
				out = append(out, a.Name)
			}
		}
		return out
	}
	is := func(step string, want ...string) {
		t.Helper()
		if got := held(); !slices.Equal(got, want) {
			t.Errorf("%s: addresses %v, want %v", step, got, want)
		}
	}
	made := func(finalizers ...string) *corev1.Service {
		t.Helper()
		svc, err := api.Services.Create(ctx, c, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", Finalizers: finalizers},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		is("made", svc.Spec.ClusterIP)
		return svc
	}
	change := func(fn func(*corev1.Service)) {
		t.Helper()
		if _, err := api.Services.Mutate(ctx, c, "default", "web", "", func(svc *corev1.Service) (bool, error) { fn(svc); return true, nil }); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(o metav1.DeleteOptions) {
		t.Helper()
		if err := api.Services.Delete(ctx, c, "default", "web", o); err != nil {
			t.Fatal(err)
		}
	}
	svc := made("example.com/wait")
	remove(metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
	remove(metav1.DeleteOptions{})
	is("waiting for a finalizer", svc.Spec.ClusterIP)
	change(func(svc *corev1.Service) { svc.Finalizers = nil })
	is("the finalizer has gone")
	made()
	change(func(svc *corev1.Service) {
		svc.Spec.Type, svc.Spec.ExternalName = corev1.ServiceTypeExternalName, "a.example"
	})
	is("another type")
	change(func(svc *corev1.Service) { svc.Spec.Type, svc.Spec.ExternalName = corev1.ServiceTypeClusterIP, "" })
	if got := held(); len(got) != 1 {
		t.Errorf("back again: addresses %v", got)
	}
	remove(metav1.DeleteOptions{})
	is("deleted")
}
