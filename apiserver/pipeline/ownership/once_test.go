package ownership

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/api"
)

// oneVersion converts nothing, and knows no version but v1.
type oneVersion struct{ identity }

func (oneVersion) ConvertToVersion(in runtime.Object, to runtime.GroupVersioner) (runtime.Object, error) {
	if gv := to.(schema.GroupVersion); gv != corev1.SchemeGroupVersion {
		return nil, runtime.NewNotRegisteredErrForKind("test", gv.WithKind("Pod"))
	}
	return in, nil
}

// owned is a pod of labels that managers m0 to m(n-1) own one after the other.
func owned(labels, n int, operation metav1.ManagedFieldsOperationType, version func(i int) string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a"}}}}
	for i := range labels {
		pod.Labels[fmt.Sprintf("l%05d", i)] = ""
	}
	for i := range n {
		at := metav1.NewTime(time.Unix(int64(i), 0))
		pod.ManagedFields = append(pod.ManagedFields, metav1.ManagedFieldsEntry{
			Manager: fmt.Sprintf("m%d", i), Operation: operation, APIVersion: version(i), Time: &at,
			FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: fmt.Appendf(nil, `{"f:metadata":{"f:labels":{"f:l%05d":{}}}}`, i%labels)},
		})
	}
	return pod
}

func sameVersion(int) string   { return "v1" }
func noneOfOurs(i int) string  { return fmt.Sprintf("example.com/v%d", i) }
func everySecond(i int) string { return []string{"v1", "example.com/v1"}[i%2] }

// TestManyManagers: what is converted once for many managers is owned as the library has it.
func TestManyManagers(t *testing.T) {
	r := podResource(t)
	_, m := managers(t, r, "")
	m.converter = oneVersion{}
	library, err := m.build(m.types, m.converter) // not by way of a once
	if err != nil {
		t.Fatal(err)
	}
	for name, pod := range map[string]*corev1.Pod{
		"updates":     owned(30, 60, metav1.ManagedFieldsOperationUpdate, sameVersion),
		"applies":     owned(30, 60, metav1.ManagedFieldsOperationApply, sameVersion),
		"no version":  owned(30, 60, metav1.ManagedFieldsOperationUpdate, noneOfOurs),
		"some":        owned(30, 60, metav1.ManagedFieldsOperationApply, everySecond),
		"large":       owned(3000, 60, metav1.ManagedFieldsOperationApply, everySecond),
		"large, none": owned(3000, 60, metav1.ManagedFieldsOperationApply, noneOfOurs),
	} {
		live := WithKind(pod, r.GVK())
		next, want := changedLabels(live), changedLabels(live)
		library.UpdateNoErrors(live, want, "second")
		m.Update(live, next, "second")
		if got, want := untimed(next, "second"), untimed(want, "second"); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// untimed are the entries of an object, without the time of the manager that has written just now.
func untimed(obj api.Object, manager string) (out []string) {
	for _, e := range obj.GetManagedFields() {
		if e.Manager == manager {
			e.Time = nil
		}
		out = append(out, fmt.Sprintf("%s %s %s %v %s", e.Manager, e.Operation, e.APIVersion, e.Time, e.FieldsV1.Raw))
	}
	return out
}

func changedLabels(obj api.Object) api.Object {
	next := obj.DeepCopyObject().(api.Object)
	labels := next.GetLabels()
	labels["l00001"], labels["new"] = "changed", ""
	delete(labels, "l00002")
	next.SetLabels(labels)
	return next
}

// TestCrowdOfManagers: a request says that thousands own an object; or they do, in versions that are not known.
func TestCrowdOfManagers(t *testing.T) {
	r := podResource(t)
	for name, tt := range map[string]struct {
		pod   *corev1.Pod
		known bool // the object has them already
		want  int
	}{
		"sent":             {owned(10, 15_000, metav1.ManagedFieldsOperationApply, sameVersion), false, 1},
		"sent, not many":   {owned(30_000, 1000, metav1.ManagedFieldsOperationApply, sameVersion), false, 999},
		"had":              {owned(5000, 900, metav1.ManagedFieldsOperationApply, sameVersion), true, 899},
		"had, no versions": {owned(5000, 900, metav1.ManagedFieldsOperationUpdate, noneOfOurs), true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			_, m := managers(t, r, "")
			m.converter = oneVersion{}
			live := WithKind(tt.pod.DeepCopy(), r.GVK())
			next := changedLabels(live)
			if !tt.known {
				live.SetManagedFields(nil)
			}
			start := used(t)
			m.Update(live, next, "second")
			if got := len(next.GetManagedFields()); got != tt.want {
				t.Errorf("%d managers, want %d", got, tt.want)
			}
			if took := used(t) - start; took > soon {
				t.Errorf("took %v", took)
			}
		})
	}
}
