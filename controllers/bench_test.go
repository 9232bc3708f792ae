package controllers_test

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/apiserver/inprocess/inprocesstest"
	"clipper/controllers"
	"clipper/controllers/controllertest"
)

// BenchmarkPodsWithoutOwner measures what all controllers add to the creation and the status of pods that
// none of them is responsible for.
func BenchmarkPodsWithoutOwner(b *testing.B) {
	for _, running := range []bool{false, true} {
		b.Run(fmt.Sprintf("controllers=%v", running), func(b *testing.B) {
			c := inprocesstest.New(b)
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error, 1)
			if running {
				go func() { done <- controllers.RunAll(ctx, c, nil) }()
			} else {
				done <- nil
			}
			spec := controllertest.Template("").Spec
			b.ResetTimer()
			for i := range b.N {
				p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint("p", i)}, Spec: spec}
				made, err := api.Pods.Create(ctx, c, p)
				if err != nil {
					b.Fatal(err)
				}
				made = made.DeepCopy()
				made.Status.Phase = corev1.PodRunning
				if _, err := api.Pods.UpdateStatus(ctx, c, made); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			cancel()
			if err := <-done; err != nil {
				b.Error(err)
			}
		})
	}
}
