package owner

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"clipper/api"
)

// EnqueueObject returns what handles events by adding the object itself.
func EnqueueObject(add func(Key)) func(api.Event) {
	return func(e api.Event) { add(KeyOf(e.Object())) }
}

// EnqueueController returns what handles events by adding the controllers of kind r that they concern: the object's
// present and former one. An orphan that is new or whose labels or owner changed it gives to orphan, which may find
// adopters; nil: there are none.
func EnqueueController(r api.Resource, add func(Key), orphan func(api.Object)) func(api.Event) {
	return func(e api.Event) {
		before, had := Controller(e.Old, r)
		if had {
			add(before)
		}
		if e.New == nil {
			return
		}
		if now, has := Controller(e.New, r); has {
			if now != before {
				add(now)
			}
			return
		}
		if orphan != nil && newlyOrphan(e) {
			orphan(e.New)
		}
	}
}

// newlyOrphan: nobody controls the object, and who may adopt it has not been asked before.
func newlyOrphan(e api.Event) bool {
	return metav1.GetControllerOfNoCopy(e.New) == nil &&
		(e.Old == nil || metav1.GetControllerOfNoCopy(e.Old) != nil || !labels.Equals(e.Old.GetLabels(), e.New.GetLabels()))
}

// EnqueueAdopters returns what adds, for an orphan, the objects of its namespace whose selector matches it. An empty
// selector matches nothing.
func EnqueueAdopters[T api.Object](v api.TypedView[T], selector func(T) (labels.Selector, error), add func(Key)) func(orphan api.Object) {
	return func(orphan api.Object) {
		for _, o := range v.List(orphan.GetNamespace()) {
			if sel, err := selector(o); err == nil && !sel.Empty() && sel.Matches(labels.Set(orphan.GetLabels())) {
				add(KeyOf(o))
			}
		}
	}
}
