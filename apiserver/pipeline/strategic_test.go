package pipeline

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"clipper/api"
)

// many returns n times what one makes, as JSON.
func many(n int, one func(i int) any) any {
	out := make([]any, n)
	for i := range out {
		out[i] = one(i)
	}
	return out
}

func variable(i int) any { return map[string]any{"name": fmt.Sprint("v", i)} }

func container(name string, fields map[string]any) map[string]any {
	fields["name"] = name
	return map[string]any{"spec": map[string]any{"containers": []any{fields}}}
}

// TestLongLists: a strategic merge patch is merged in seconds or not at all.
func TestLongLists(t *testing.T) {
	pod := func(variables, finalizers int) *corev1.Pod {
		p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}}
		for i := range variables {
			p.Spec.Containers[0].Env = append(p.Spec.Containers[0].Env, corev1.EnvVar{Name: fmt.Sprint("v", i)})
		}
		for i := range finalizers {
			p.Finalizers = append(p.Finalizers, fmt.Sprint("example.com/", i))
		}
		return p
	}
	finalizer := func(i int) any { return fmt.Sprint("example.com/new", i) }
	metadata := func(name string, v any) map[string]any { return map[string]any{"metadata": map[string]any{name: v}} }
	for name, tt := range map[string]struct {
		old    api.Object
		change map[string]any
		refuse bool
	}{
		"some variables":     {pod(800, 0), container("c", map[string]any{"env": many(800, variable)}), false},
		"many variables":     {pod(20_000, 0), container("c", map[string]any{"env": many(20_000, variable)}), true},
		"of a new container": {pod(0, 0), container("d", map[string]any{"env": many(40_000, variable)}), true},
		"one more":           {pod(20_000, 0), container("c", map[string]any{"env": many(1, variable)}), true},
		"beside many":        {pod(20_000, 0), container("c", map[string]any{"image": "i"}), false},
		"their order":        {pod(20_000, 0), container("c", map[string]any{"$setElementOrder/env": many(20_000, variable)}), true},
		"finalizers":         {pod(0, 20_000), metadata("finalizers", many(20_000, finalizer)), true},
		"finalizers that go": {pod(0, 20_000), metadata("$deleteFromPrimitiveList/finalizers", many(20_000, finalizer)), false},
		"labels":             {pod(0, 0), metadata("labels", map[string]any{"a": "b"}), false},
		"one container again and again": {pod(0, 0), map[string]any{"spec": map[string]any{"containers": many(2000, func(i int) any {
			return map[string]any{"name": "c", "env": many(20, func(k int) any { return variable(20*i + k) })}
		})}}, true},
		"replaced as a whole": {&rbacv1.ClusterRole{}, map[string]any{"rules": many(20_000, func(int) any { return map[string]any{"verbs": []any{"get"}} })}, false},
	} {
		t.Run(name, func(t *testing.T) {
			before, err := runtime.DefaultUnstructuredConverter.ToUnstructured(tt.old)
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(tt.change)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			err = checkStrategic(tt.old, before, tt.change, len(text), tt.old)
			if apierrors.IsRequestEntityTooLargeError(err) != tt.refuse || !tt.refuse && err != nil {
				t.Fatalf("%v", err)
			}
			if !tt.refuse {
				_, err = mergeStrategic(before, tt.change, tt.old)
			} else {
				err = nil
			}
			if took := time.Since(start); err != nil || took > time.Minute {
				t.Errorf("%v, %v", took, err)
			}
		})
	}
}
