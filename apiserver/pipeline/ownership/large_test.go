package ownership

import (
	"fmt"
	"math/rand"
	"slices"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"clipper/api"
	"clipper/catalogue"
)

// soon is far more than what is done in order takes of a processor, and far less than the same in any other order.
const soon = 20 * time.Second

// used is the time that this process has had of processors.
func used(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// crowded are pods with n members in one place, sent in the order that costs most.
func crowded(n int) map[string]*corev1.Pod {
	name := func(i int) string { return fmt.Sprintf("n%07d", n-i) }
	pod := func() *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a"}}}}
	}
	annotations, finalizers, env := pod(), pod(), pod()
	annotations.Annotations = map[string]string{}
	for i := range n {
		annotations.Annotations[name(i)] = ""
		finalizers.Finalizers = append(finalizers.Finalizers, name(i))
		env.Spec.Containers[0].Env = append(env.Spec.Containers[0].Env, corev1.EnvVar{Name: name(i)})
	}
	return map[string]*corev1.Pod{"annotations": annotations, "finalizers": finalizers, "environment": env}
}

// TestCrowds: members of one place are owned in a time that grows as their number does.
func TestCrowds(t *testing.T) {
	const n = 80_000
	r := podResource(t)
	for what, pod := range crowded(n) {
		t.Run(what, func(t *testing.T) {
			_, m := managers(t, r, "")
			start := used(t)
			made := WithKind(pod, r.GVK())
			m.Update(nil, made, "first")
			if fields := made.GetManagedFields(); len(fields) != 1 || len(fields[0].FieldsV1.Raw) < n*10 {
				t.Fatalf("%d owners", len(fields))
			}
			changed := made.DeepCopyObject().(api.Object)
			changed.SetLabels(map[string]string{"a": "b"})
			m.Update(made, changed, "second")
			if fields := changed.GetManagedFields(); len(fields) != 2 {
				t.Errorf("%d owners", len(fields))
			}
			if took := used(t) - start; took > soon {
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestShuffledEntries: managedFields may be sent in any order.
func TestShuffledEntries(t *testing.T) {
	const n = 40_000
	r := podResource(t)
	_, m := managers(t, r, "")
	pod := crowded(n)["environment"]
	made := WithKind(pod, r.GVK())
	m.Update(nil, made, "first")
	sent := made.GetManagedFields()[0]
	for name, tt := range map[string]struct {
		fields string
		want   string
	}{
		"as they were":   {string(sent.FieldsV1.Raw), string(sent.FieldsV1.Raw)},
		"back to front":  {backward(n), forward(n)},
		"nothing of use": {`{"f:metadata":[` + backward(n) + `]}`, ""},
	} {
		next := made.DeepCopyObject().(api.Object)
		sent.FieldsV1 = &metav1.FieldsV1{Raw: []byte(tt.fields)}
		sent.Manager = "other"
		next.SetManagedFields([]metav1.ManagedFieldsEntry{sent})
		start := used(t)
		m.Update(made, next, "second")
		entries := next.GetManagedFields()
		i := slices.IndexFunc(entries, func(e metav1.ManagedFieldsEntry) bool { return e.Manager == "other" })
		if got := ""; tt.want != "" && i >= 0 {
			if got = string(entries[i].FieldsV1.Raw); got != tt.want {
				t.Errorf("%s: %.200s", name, got)
			}
		} else if (i >= 0) != (tt.want != "") {
			t.Errorf("%s: entry %d of %d", name, i, len(entries))
		}
		if took := used(t) - start; took > soon {
			t.Errorf("%s: took %v", name, took)
		}
	}
}

func backward(n int) string {
	return fields(n, func(i int) int { return n - i })
}

func forward(n int) string {
	return fields(n, func(i int) int { return i + 1 })
}

// fields are those of n annotations; at says which comes where.
func fields(n int, at func(int) int) string {
	text := []byte(`{"f:metadata":{"f:annotations":{`)
	for i := range n {
		if i > 0 {
			text = append(text, ',')
		}
		text = fmt.Appendf(text, `"f:n%07d":{}`, at(i))
	}
	return string(append(text, `}}}`...))
}

// TestApplyInOrder: an apply to a large object makes the same of it as one to a small one.
func TestApplyInOrder(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	r := podResource(t)
	for range 200 {
		_, plain := managers(t, r, "")
		_, large := managers(t, r, "")
		var err error
		if large.library, err = large.libraryFor(orderly{large.types, false}, 0); err != nil {
			t.Fatal(err)
		}
		var one, other api.Object
		for range 4 {
			config, who, force := randomConfiguration(random, r), fmt.Sprint("m", random.Intn(2)), random.Intn(2) == 0
			a, errA := plain.Apply(one, config.DeepCopy(), who, force)
			b, errB := large.Apply(other, config.DeepCopy(), who, force)
			if fmt.Sprint(errA) != fmt.Sprint(errB) {
				t.Fatalf("%v, %v", errA, errB)
			}
			if errA != nil {
				continue
			}
			one, other = typedPod(t, a), typedPod(t, b)
			forgetNow(one)
			forgetNow(other)
			if x, y := fmt.Sprint(one)+describe(one), fmt.Sprint(other)+describe(other); x != y {
				t.Fatalf("%s\n\n%s", x, y)
			}
		}
	}
}

func typedPod(t *testing.T, obj any) api.Object {
	t.Helper()
	if u, ok := obj.(*unstructured.Unstructured); ok {
		pod := &corev1.Pod{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, pod); err != nil {
			t.Fatal(err)
		}
		return pod
	}
	return obj.(api.Object)
}

// randomConfiguration has some annotations, finalizers and variables of a few names, in any order.
func randomConfiguration(random *rand.Rand, r *catalogue.Resource) *unstructured.Unstructured {
	names := func() (out []string) {
		for _, i := range random.Perm(5)[:random.Intn(5)] {
			out = append(out, fmt.Sprint("n", i))
		}
		return out
	}
	annotations, finalizers, env := map[string]any{}, []any{}, []any{}
	for _, n := range names() {
		annotations[n] = fmt.Sprint(random.Intn(2))
	}
	for _, n := range names() {
		finalizers = append(finalizers, n)
	}
	for _, n := range names() {
		env = append(env, map[string]any{"name": n, "value": fmt.Sprint(random.Intn(2))})
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"name": "a", "annotations": annotations, "finalizers": finalizers},
		"spec":     map[string]any{"containers": []any{map[string]any{"name": "a", "env": env}}},
	}}
	u.SetGroupVersionKind(r.GVK())
	return u
}

// TestApplyOfTooMuch: what an apply would need too long for is refused.
func TestApplyOfTooMuch(t *testing.T) {
	r := podResource(t)
	_, m := managers(t, r, "")
	small := randomConfiguration(rand.New(rand.NewSource(1)), r)
	for what, pod := range crowded(maxApplied + 1) {
		if _, err := m.Apply(WithKind(pod, r.GVK()), small, "m", false); !apierrors.IsRequestEntityTooLargeError(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, pod := range crowded(maxApplied) {
		start := used(t)
		live := WithKind(pod, r.GVK())
		m.Update(nil, live, "m")
		if _, err := m.Apply(live, small, "m", true); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if took := used(t) - start; took > soon {
			t.Errorf("%s: took %v", what, took)
		}
	}
}
