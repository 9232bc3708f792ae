package ownership

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"clipper/api"
)

// TestConcurrentWrites: writers that share a Manager, its memory and the objects that they change get what each would
// get alone. There are more questions than a generation of answers, so that
// some are forgotten meanwhile.
func TestConcurrentWrites(t *testing.T) {
	const writers, each = 4, generation / 2 // half of them are the next writer's, too
	r := podResource(t)
	library, m := managers(t, r, "")
	live := WithKind(benchPod("web"), r.GVK())
	m.Update(nil, live, "creator")
	changed := func() api.Object {
		next := live.DeepCopyObject().(*corev1.Pod)
		next.Labels["b"] = "c"
		return next
	}
	configuration := map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "web",
		"namespace": "default", "labels": map[string]any{"d": "e"}}}
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				manager := fmt.Sprint("manager-", w*each/2+i)
				want, got := changed(), changed()
				library.UpdateNoErrors(WithKind(live, r.GVK()), want, manager)
				m.Update(live, got, manager)
				forgetNow(want)
				forgetNow(got)
				if want, got := describe(want), describe(got); want != got {
					t.Errorf("%s: %s, want %s", manager, got, want)
				}
			}
			applied, err := m.Apply(live, (&unstructured.Unstructured{Object: configuration}).DeepCopy(), "applier", false)
			if err != nil {
				t.Error(err)
				return
			}
			if text, err := json.Marshal(applied.(api.Object).GetLabels()); err != nil || string(text) != `{"app":"web","d":"e"}` {
				t.Errorf("applied labels %s %v", text, err)
			}
		})
	}
	writing.Wait()
}
