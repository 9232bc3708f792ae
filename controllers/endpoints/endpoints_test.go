package endpoints

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"clipper/api"
	"clipper/apiserver/inprocess/inprocesstest"
	"clipper/controllers/owner"
)

func pod(name, ip string, ready bool, port int32) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: port, Protocol: corev1.ProtocolTCP}}}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip},
	}
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	return p
}

func service() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.ServiceSpec{ClusterIP: "10.43.0.1", ClusterIPs: []string{"10.43.0.1"}, Selector: map[string]string{"app": "web"},
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromString("web")}}},
	}
}

func show(e *corev1.Endpoints) string {
	var out []string
	for _, s := range e.Subsets {
		var ready, not []string
		for _, a := range s.Addresses {
			ready = append(ready, a.IP)
		}
		for _, a := range s.NotReadyAddresses {
			not = append(not, a.IP)
		}
		out = append(out, fmt.Sprintf("%v %v :%d", ready, not, s.Ports[0].Port))
	}
	return strings.Join(out, "; ")
}

func TestPlan(t *testing.T) {
	backing := []*corev1.Pod{
		pod("b", "10.42.0.3", true, 80), pod("a", "10.42.0.2", true, 80), pod("c", "10.42.0.4", false, 80),
		pod("d", "10.42.0.5", true, 81), pod("e", "", true, 80),
	}
	e := plan(service(), backing, nil)
	if got := show(e); got != "[10.42.0.2 10.42.0.3] [10.42.0.4] :80; [10.42.0.5] [] :81" {
		t.Errorf("subsets %s", got)
	}
	if again := plan(service(), backing, e); again != nil {
		t.Errorf("nothing has changed: %+v", again)
	}
	open := service()
	open.Spec.PublishNotReadyAddresses = true
	if got := show(plan(open, backing[:3], nil)); got != "[10.42.0.2 10.42.0.3 10.42.0.4] [] :80" {
		t.Errorf("not-ready ones published: %s", got)
	}
	if e := plan(service(), nil, nil); e.Subsets != nil || e.Labels[managedByLabel] != managedBy {
		t.Errorf("without pods: %+v", e)
	}
}

func TestOverCapacity(t *testing.T) {
	var backing []*corev1.Pod
	for i := range 1100 {
		backing = append(backing, pod(fmt.Sprint("p", i), fmt.Sprintf("10.42.%d.%d", i/200, i%200), i%10 > 0, 80))
	}
	e := plan(service(), backing, nil)
	s := e.Subsets[0]
	if len(s.Addresses) != 990 || len(s.NotReadyAddresses) != 10 || e.Annotations[corev1.EndpointsOverCapacity] != "truncated" {
		t.Errorf("%d ready, %d not, %v", len(s.Addresses), len(s.NotReadyAddresses), e.Annotations)
	}
	if e = plan(service(), backing[:10], e); e.Annotations[corev1.EndpointsOverCapacity] != "" {
		t.Errorf("annotations %v", e.Annotations)
	}
}

func TestEndpointsGoWithTheirService(t *testing.T) {
	c := inprocesstest.New(t)
	ctl := New(c)
	svc, err := api.Services.Create(t.Context(), c, service())
	if err != nil {
		t.Fatal(err)
	}
	if err := ctl.sync(t.Context(), owner.KeyOf(svc)); err != nil {
		t.Fatal(err)
	}
	if _, ok := api.Endpoints.View(c).Get("default", "web"); !ok {
		t.Fatal("no endpoints")
	}
	if err := api.Services.Delete(t.Context(), c, "default", "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := ctl.sync(t.Context(), owner.KeyOf(svc)); err != nil {
		t.Fatal(err)
	}
	if _, ok := api.Endpoints.View(c).Get("default", "web"); ok {
		t.Error("the endpoints are still there")
	}
}
