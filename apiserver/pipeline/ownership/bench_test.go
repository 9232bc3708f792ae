package ownership

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/catalogue"
)

func podResource(b testing.TB) *catalogue.Resource {
	for _, r := range stored() {
		if r.Resource == api.Pods.Resource {
			return r
		}
	}
	b.Fatal("pods are no kind")
	return nil
}

func benchPod(name string) *corev1.Pod {
	return &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: "u", Labels: map[string]string{"app": name},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web", UID: "r"}}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "nginx", Env: []corev1.EnvVar{{Name: "A", Value: "B"}},
			Ports: []corev1.ContainerPort{{ContainerPort: 80, Protocol: "TCP"}}}}},
	}
}

// BenchmarkUpdate has one part make a pod and another set its status, over and over, as the library does it
// and from memory.
func BenchmarkUpdate(b *testing.B) {
	r := podResource(b)
	library, manager := managers(b, r, "status")
	for name, update := range map[string]func(live, next api.Object, by string){
		"library": func(live, next api.Object, by string) {
			if live == nil {
				live = r.New()
			}
			library.UpdateNoErrors(WithKind(live, r.GVK()), next, by)
		},
		"memory": manager.Update,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				made := benchPod(fmt.Sprint("web-", i))
				update(nil, made, "kube-controller-manager")
				running := made.DeepCopy()
				running.Status.Phase = corev1.PodRunning
				running.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: "True", LastTransitionTime: metav1.Now()}}
				update(made, running, "kubelet")
			}
		})
	}
}
