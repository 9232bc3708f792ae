// Package controllertest has what the tests of controllers share: an event sink, and pods in chosen states.
package controllertest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
)

// Events keeps what was recorded as "Type Reason Message".
type Events struct {
	mu   sync.Mutex
	list []string
}

// Event implements pods.Eventer.
func (e *Events) Event(_ api.Object, eventType, reason, format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, eventType+" "+reason+" "+fmt.Sprintf(format, args...))
}

// Take returns what was recorded since the last call.
func (e *Events) Take() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := e.list
	e.list = nil
	return out
}

// Contains says whether some event begins with prefix.
func (e *Events) Contains(prefix string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.ContainsFunc(e.list, func(s string) bool { return strings.HasPrefix(s, prefix) })
}

// Template returns a pod template with the given label "app".
func Template(app string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "nginx"}}},
	}
}

// Selector selects the pods of Template.
func Selector(app string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
}

// SetPhase plays the kubelet: the pod is in phase, and ready if running.
func SetPhase(t testing.TB, c api.Client, p *corev1.Pod, phase corev1.PodPhase) *corev1.Pod {
	t.Helper()
	next, err := api.Pods.Mutate(t.Context(), c, p.Namespace, p.Name, "status", func(p *corev1.Pod) (bool, error) {
		p.Status.Phase = phase
		ready := corev1.ConditionFalse
		if phase == corev1.PodRunning {
			ready = corev1.ConditionTrue
		}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready, LastTransitionTime: metav1.Now()}}
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// RunAll plays the kubelet for every pod of a namespace that is still pending.
func RunAll(t testing.TB, c api.Client, namespace string) {
	t.Helper()
	for _, p := range api.Pods.View(c).List(namespace) {
		if p.Status.Phase == corev1.PodPending || p.Status.Phase == "" {
			SetPhase(t, c, p, corev1.PodRunning)
		}
	}
}

// Kill deletes a pod at once, as the kubelet does at the end of its grace period.
func Kill(t testing.TB, c api.Client, p *corev1.Pod) {
	t.Helper()
	zero := int64(0)
	if err := api.Pods.Delete(t.Context(), c, p.Namespace, p.Name, metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Fatal(err)
	}
}
