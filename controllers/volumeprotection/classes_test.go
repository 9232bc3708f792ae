package volumeprotection

import (
	"context"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/apiserver/admission/storage"
)

func TestClassesAreKeptWhileNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &apitest.Client{}
		for _, name := range []string{"claimed", "held", "free"} {
			c.Add(api.VolumeAttributesClasses.Resource, &storagev1.VolumeAttributesClass{ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{storage.AttributesFinalizer}}})
		}
		claimed, held := "claimed", "held"
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "c"}, Spec: corev1.PersistentVolumeClaimSpec{VolumeAttributesClassName: &claimed}}
		c.Add(api.PersistentVolumeClaims.Resource, claim)
		c.Add(api.PersistentVolumes.Resource, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "v"}, Spec: corev1.PersistentVolumeSpec{VolumeAttributesClassName: &held}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- New(c).Run(ctx) }()
		for _, name := range []string{"claimed", "held", "free"} {
			if err := api.VolumeAttributesClasses.Delete(ctx, c, "", name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		left := func() (names string) {
			synctest.Wait()
			for _, o := range api.VolumeAttributesClasses.View(c).List("") {
				names += o.Name + " "
			}
			return names
		}
		if got := left(); got != "claimed held " {
			t.Errorf("left: %s", got)
		}
		moved := claim.DeepCopy()
		moved.Spec.VolumeAttributesClassName = nil
		c.Add(api.PersistentVolumeClaims.Resource, moved)
		if got := left(); got != "held " {
			t.Errorf("left without the claim: %s", got)
		}
		if err := api.PersistentVolumes.Delete(ctx, c, "", "v", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if got := left(); got != "" {
			t.Errorf("left without the volume: %s", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
