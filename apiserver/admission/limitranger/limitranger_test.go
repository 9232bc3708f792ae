package limitranger

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/apiserver/admission"
)

func list(pairs ...string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return out
}

func TestPods(t *testing.T) {
	container := func(requests, limits corev1.ResourceList) []corev1.Container {
		return []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: requests, Limits: limits}}}
	}
	for _, tt := range []struct {
		name       string
		item       corev1.LimitRangeItem
		containers []corev1.Container
		note, err  string
	}{
		{"defaults", corev1.LimitRangeItem{Type: "Container", Default: list("cpu", "2", "memory", "1Gi"), DefaultRequest: list("cpu", "1")}, container(nil, nil),
			"LimitRanger plugin set: cpu request for container c; cpu, memory limit for container c", ""},
		{"nothing to fill", corev1.LimitRangeItem{Type: "Container", Default: list("cpu", "2")}, container(nil, list("cpu", "1")), "", ""},
		{"too little", corev1.LimitRangeItem{Type: "Container", Min: list("cpu", "100m")}, container(list("cpu", "50m"), nil), "",
			"minimum cpu usage per Container is 100m, but request is 50m"},
		{"nothing asked", corev1.LimitRangeItem{Type: "Container", Min: list("cpu", "100m")}, container(nil, nil), "",
			"minimum cpu usage per Container is 100m.  No request is specified"},
		{"too much", corev1.LimitRangeItem{Type: "Container", Max: list("memory", "1Gi")}, container(nil, list("memory", "2Gi")), "",
			"maximum memory usage per Container is 1Gi, but limit is 2Gi"},
		{"unlimited", corev1.LimitRangeItem{Type: "Container", Max: list("memory", "1Gi")}, container(nil, nil), "",
			"maximum memory usage per Container is 1Gi.  No limit is specified"},
		{"pod in sum", corev1.LimitRangeItem{Type: "Pod", Max: list("cpu", "1")}, append(container(nil, list("cpu", "600m")), container(nil, list("cpu", "600m"))...), "",
			"maximum cpu usage per Pod is 1, but limit is 1200m"},
		{"uneven", corev1.LimitRangeItem{Type: "Container", MaxLimitRequestRatio: list("cpu", "2")}, container(list("cpu", "100m"), list("cpu", "300m")), "",
			"cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000"},
		{"two faults", corev1.LimitRangeItem{Type: "Container", Min: list("cpu", "1", "memory", "1Gi")}, container(list("cpu", "1m", "memory", "1"), nil), "",
			"[minimum cpu usage per Container is 1, but request is 1m, minimum memory usage per Container is 1Gi, but request is 1]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &apitest.Client{}
			c.Add(api.LimitRanges.Resource, &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "l"},
				Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{tt.item}}})
			p := New(c)
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}, Spec: corev1.PodSpec{Containers: tt.containers}}
			a := &admission.Attributes{Operation: admission.Create, Resource: api.Pods.Resource, Namespace: "ns", Name: "p", Object: pod}
			if err := p.Admit(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			if got := pod.Annotations[annotation]; got != tt.note {
				t.Errorf("note %q, want %q", got, tt.note)
			}
			err := p.Validate(t.Context(), a)
			if (err == nil) != (tt.err == "") || err != nil && !strings.HasSuffix(err.Error(), `pods "p" is forbidden: `+tt.err) {
				t.Errorf("got %v, want %q", err, tt.err)
			}
		})
	}
}

// TestResize: a resize gets the defaults of what it leaves out, too; one of a pod that is going is let be.
// A pod's overhead is none of the user's.
func TestResize(t *testing.T) {
	c := &apitest.Client{}
	c.Add(api.LimitRanges.Resource, &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "l"}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{
		{Type: "Container", Default: list("memory", "1Gi")}, {Type: "Pod", Max: list("cpu", "1")}}}})
	pod := func(cpu string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}, Spec: corev1.PodSpec{Overhead: list("cpu", "1"),
			Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Limits: list("cpu", cpu)}}}}}
	}
	resize := func(old *corev1.Pod, next *corev1.Pod) error {
		a := &admission.Attributes{Operation: admission.Update, Resource: api.Pods.Resource, Subresource: "resize", Namespace: "ns", Name: "p", Object: next, Old: old}
		if err := New(c).Admit(t.Context(), a); err != nil {
			return err
		}
		return New(c).Validate(t.Context(), a)
	}
	next := pod("1")
	if err := resize(pod("500m"), next); err != nil {
		t.Error(err)
	}
	if memory := next.Spec.Containers[0].Resources.Limits["memory"]; memory.String() != "1Gi" {
		t.Errorf("memory %s", memory.String())
	}
	if err := resize(pod("1"), pod("2")); err == nil || !strings.Contains(err.Error(), "maximum cpu usage per Pod is 1, but limit is 2") {
		t.Errorf("got %v", err)
	}
	going, now := pod("1"), metav1.Now()
	going.DeletionTimestamp = &now
	if err := resize(going, pod("2")); err != nil {
		t.Errorf("a pod that is going: %v", err)
	}
}

func TestClaims(t *testing.T) {
	c := &apitest.Client{}
	c.Add(api.LimitRanges.Resource, &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "l"},
		Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{Type: "PersistentVolumeClaim", Max: list("storage", "1Gi")}}}})
	claim := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{Resources: corev1.VolumeResourceRequirements{Requests: list("storage", "2Gi")}}}
	a := &admission.Attributes{Operation: admission.Create, Resource: api.PersistentVolumeClaims.Resource, Namespace: "ns", Name: "c", Object: claim}
	want := `persistentvolumeclaims "c" is forbidden: maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi`
	if err := New(c).Validate(t.Context(), a); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}
