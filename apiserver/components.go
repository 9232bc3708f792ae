package apiserver

import (
	"context"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/apiserver/pipeline"
	"clipper/store"
)

// componentStatuses answers for ComponentStatus, which is stored nowhere: it says at the moment of asking
// how the control plane's parts are.
func (q *request) componentStatuses() {
	switch {
	case q.info.deprecatedWatch:
		q.notFound()
	case q.info.Verb == "get":
		q.componentStatus()
	case q.info.Verb == "list":
		q.listComponentStatuses()
	default:
		q.methodNotAllowed()
	}
}

func (q *request) componentStatus() {
	q.warn(q.kind.Deprecated)
	for _, c := range q.s.components() {
		if c.name == q.info.Name {
			q.writeItem(http.StatusOK, itemOfComponent(q.r.Context(), c))
			return
		}
	}
	q.fail(apierrors.NewNotFound(schema.GroupResource{Resource: q.kind.Singular}, q.info.Name)) // upstream says componentstatus here
}

func (q *request) listComponentStatuses() {
	if _, ok := q.media(); !ok {
		return
	}
	o, err := q.listOptions()
	if err != nil {
		q.fail(err)
		return
	}
	selected, err := pipeline.ParseSelection(q.pipelineRequest(), o)
	if err != nil {
		q.fail(err)
		return
	}
	list := &pipeline.List{}
	for _, c := range q.s.components() {
		if item := itemOfComponent(q.r.Context(), c); selected.Matches(item.Object) {
			list.Items = append(list.Items, item)
		}
	}
	q.warn(q.kind.Deprecated)
	q.writeList(list)
}

// components are the parts under the names that they have upstream. Scheduler and controllers are in this
// process: they run once it has started.
func (s *Server) components() []check {
	etcd := s.options.Checks["etcd"]
	if etcd == nil {
		etcd = fine
	}
	return []check{{"controller-manager", s.started}, {"scheduler", s.started}, {"etcd-0", etcd}}
}

func itemOfComponent(ctx context.Context, c check) *store.Item {
	condition := corev1.ComponentCondition{Type: corev1.ComponentHealthy, Status: corev1.ConditionTrue, Message: "ok"}
	if err := c.run(ctx); err != nil {
		condition = corev1.ComponentCondition{Type: corev1.ComponentHealthy, Status: corev1.ConditionFalse, Message: err.Error()}
	}
	return &store.Item{Key: store.Key{Name: c.name}, Object: &corev1.ComponentStatus{
		ObjectMeta: metav1.ObjectMeta{Name: c.name}, Conditions: []corev1.ComponentCondition{condition}}}
}
