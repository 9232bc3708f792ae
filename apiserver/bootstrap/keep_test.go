package bootstrap

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/apitest"
)

// TestKeep: who deletes every service of a namespace, or a namespace of the system, does not take the cluster away from its
// pods until the next start; what somebody has changed of the service stays.
func TestKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &apitest.Client{}
		if err := Run(t.Context(), c, cfg); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- Keep(ctx, c, cfg) }()
		for _, err := range []error{
			api.Services.Delete(ctx, c, "default", "kubernetes", metav1.DeleteOptions{}),
			api.Endpoints.Delete(ctx, c, "default", "kubernetes", metav1.DeleteOptions{}),
			api.EndpointSlices.Delete(ctx, c, "default", "kubernetes", metav1.DeleteOptions{}),
			api.Namespaces.Delete(ctx, c, "", "kube-node-lease", metav1.DeleteOptions{}),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(keepPeriod)
		synctest.Wait()
		if svc, ok := api.Services.View(c).Get("default", "kubernetes"); !ok || svc.Spec.ClusterIP != "10.96.0.1" {
			t.Errorf("service: %+v", svc)
		}
		if slice, ok := api.EndpointSlices.View(c).Get("default", "kubernetes"); !ok || slice.Endpoints[0].Addresses[0] != "192.0.2.1" {
			t.Errorf("endpoint slice: %+v", slice)
		}
		if _, ok := api.Endpoints.View(c).Get("default", "kubernetes"); !ok {
			t.Error("no endpoints")
		}
		if _, ok := api.Namespaces.View(c).Get("", "kube-node-lease"); !ok {
			t.Error("no namespace")
		}
		_, err := api.Services.Mutate(ctx, c, "default", "kubernetes", "", func(s *corev1.Service) (bool, error) {
			s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "more", Port: 8443})
			return true, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(keepPeriod)
		synctest.Wait()
		if svc, _ := api.Services.View(c).Get("default", "kubernetes"); len(svc.Spec.Ports) != 2 {
			t.Errorf("ports: %+v", svc.Spec.Ports)
		}
		if err := api.Services.Delete(ctx, c, "default", "kubernetes", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(keepPeriod)
		synctest.Wait()
		if _, ok := api.Services.View(c).Get("default", "kubernetes"); !ok {
			t.Error("no service, after it has been deleted for the second time")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
