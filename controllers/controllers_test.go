package controllers_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"clipper/api"
	"clipper/apiserver/inprocess"
	"clipper/apiserver/inprocess/inprocesstest"
	"clipper/controllers"
	"clipper/controllers/controllertest"
)

// kubelet lets every pod run as soon as it is made, and end when it is deleted.
func kubelet(ctx context.Context, t *testing.T, c *inprocess.Client) error {
	serial := 0
	work := make(chan *corev1.Pod, 1000)
	go func() {
		defer close(work)
		api.Pods.View(c).Watch(ctx, func(e api.Event) {
			if p, ok := e.New.(*corev1.Pod); ok && (p.Status.Phase == corev1.PodPending || p.DeletionTimestamp != nil) {
				work <- p
			}
		})
	}()
	for p := range work {
		if p.DeletionTimestamp != nil {
			zero := int64(0)
			api.Pods.Delete(ctx, c, p.Namespace, p.Name, metav1.DeleteOptions{GracePeriodSeconds: &zero})
			continue
		}
		serial++
		api.Pods.Mutate(ctx, c, p.Namespace, p.Name, "status", func(p *corev1.Pod) (bool, error) {
			p.Status.Phase = corev1.PodRunning
			p.Status.PodIP = "10.42.0." + string(rune('0'+serial%10))
			p.Status.PodIPs = []corev1.PodIP{{IP: p.Status.PodIP}}
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
			return true, nil
		})
	}
	return ctx.Err()
}

// until looks at the state whenever something of r changes.
func until(t *testing.T, c *inprocess.Client, r api.Resource, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	reached := false
	c.View(r).Watch(ctx, func(api.Event) {
		if !reached && ok() {
			reached = true
			cancel()
		}
	})
	if !reached {
		t.Fatalf("never: %s", what)
	}
}

// TestTogether follows a Deployment behind a Service through a rollout and its deletion, with every
// controller running.
func TestTogether(t *testing.T) {
	c := inprocesstest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- controllers.RunAll(ctx, c, nil) }()
	go func() { kubelet(ctx, t, c); done <- nil }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	if _, err := api.Nodes.Create(ctx, c, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}); err != nil {
		t.Fatal(err)
	}
	tpl := controllertest.Template("web")
	tpl.Spec.NodeName = "n"
	four := int32(4)
	if _, err := api.Deployments.Create(ctx, c, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: appsv1.DeploymentSpec{Replicas: &four, Selector: controllertest.Selector("web"), Template: tpl}}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Services.Create(ctx, c, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}}}); err != nil {
		t.Fatal(err)
	}
	images := func() string {
		var out []string
		for _, p := range api.Pods.View(c).List("default") {
			if p.DeletionTimestamp == nil {
				out = append(out, p.Spec.Containers[0].Image)
			}
		}
		slices.Sort(out)
		return strings.Join(out, " ")
	}
	endpoints := func() int {
		n := 0
		for _, s := range api.EndpointSlices.View(c).ByIndex(api.ByService, "default/web") {
			for _, e := range s.Endpoints {
				if *e.Conditions.Ready {
					n++
				}
			}
		}
		return n
	}
	complete := func() bool {
		d, ok := api.Deployments.View(c).Get("default", "web")
		return ok && d.Status.ObservedGeneration == d.Generation && d.Status.UpdatedReplicas == 4 && d.Status.AvailableReplicas == 4 && d.Status.Replicas == 4
	}
	until(t, c, api.Deployments.Resource, "the deployment is complete", complete)
	until(t, c, api.EndpointSlices.Resource, "its pods are endpoints", func() bool { return endpoints() == 4 })
	if images() != "nginx nginx nginx nginx" {
		t.Errorf("pods run %s", images())
	}
	if _, err := api.Deployments.Patch(ctx, c, "default", "web", "", types.StrategicMergePatchType,
		[]byte(`{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"nginx:2"}]}}}}`)); err != nil {
		t.Fatal(err)
	}
	until(t, c, api.Deployments.Resource, "the rollout is complete", complete)
	if images() != "nginx:2 nginx:2 nginx:2 nginx:2" {
		t.Errorf("pods run %s", images())
	}
	foreground := metav1.DeletePropagationForeground
	if err := api.Deployments.Delete(ctx, c, "default", "web", metav1.DeleteOptions{PropagationPolicy: &foreground}); err != nil {
		t.Fatal(err)
	}
	until(t, c, api.Deployments.Resource, "the deployment is gone", func() bool { return len(api.Deployments.View(c).List("")) == 0 })
	if n := len(api.ReplicaSets.View(c).List("")) + len(api.Pods.View(c).List("")); n != 0 {
		t.Errorf("%d dependents are left", n)
	}
	until(t, c, api.EndpointSlices.Resource, "no endpoint is ready", func() bool { return endpoints() == 0 })
}
