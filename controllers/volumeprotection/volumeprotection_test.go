package volumeprotection

import (
	"context"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/apiserver/admission/storage"
)

func TestKeptWhileUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &apitest.Client{}
		claim := func(name string) *corev1.PersistentVolumeClaim {
			return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Finalizers: []string{storage.ClaimFinalizer}}}
		}
		pod := func(name, node, claim string) *corev1.Pod {
			return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: corev1.PodSpec{NodeName: node, Volumes: []corev1.Volume{
				{VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}}}}
		}
		volume := func(name string, phase corev1.PersistentVolumePhase) *corev1.PersistentVolume {
			return &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{storage.VolumeFinalizer}}, Status: corev1.PersistentVolumeStatus{Phase: phase}}
		}
		c.Add(api.PersistentVolumeClaims.Resource, claim("used"), claim("unused"), claim("waiting"))
		c.Add(api.Pods.Resource, pod("web", "n1", "used"), pod("pending", "", "waiting"))
		c.Add(api.PersistentVolumes.Resource, volume("bound", corev1.VolumeBound), volume("free", corev1.VolumeAvailable))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- New(c).Run(ctx) }()
		for _, name := range []string{"used", "unused", "waiting"} {
			if err := api.PersistentVolumeClaims.Delete(ctx, c, "ns", name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"bound", "free"} {
			if err := api.PersistentVolumes.Delete(ctx, c, "", name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		left := func() (names string) {
			synctest.Wait()
			for _, o := range api.PersistentVolumeClaims.View(c).List("") {
				names += o.Name + " "
			}
			for _, o := range api.PersistentVolumes.View(c).List("") {
				names += o.Name + " "
			}
			return names
		}
		if got := left(); got != "used bound " {
			t.Errorf("left: %s", got)
		}
		if err := api.Pods.Delete(ctx, c, "ns", "web", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if got := left(); got != "bound " {
			t.Errorf("left without the pod: %s", got)
		}
		c.Add(api.PersistentVolumes.Resource, func() *corev1.PersistentVolume {
			pv, _ := api.PersistentVolumes.View(c).Get("", "bound")
			next := pv.DeepCopy()
			next.Status.Phase = corev1.VolumeReleased
			return next
		}())
		if got := left(); got != "" {
			t.Errorf("left after the release: %s", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
