package apiserver

import (
	"context"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/apiserver/pipeline"
	"clipper/store"
)

// componentStatuses answers for ComponentStatus, which is stored nowhere: it says at the moment of asking
// how the control plane's parts are.
func (q *request) componentStatuses() {
	var items []*store.Item
	for _, c := range q.s.components() {
		if q.info.Name == "" || q.info.Name == c.name {
			items = append(items, &store.Item{Key: store.Key{Name: c.name}, Object: statusOfComponent(q.r.Context(), c)})
		}
	}
	switch {
	case q.info.Verb != "get" && q.info.Verb != "list":
		q.methodNotAllowed()
	case q.info.Name == "":
		q.warn(q.kind.Deprecated)
		q.writeList(&pipeline.List{Items: items})
	case len(items) == 0:
		q.fail(apierrors.NewNotFound(q.kind.GroupResource(), q.info.Name))
	default:
		q.warn(q.kind.Deprecated)
		q.writeItem(http.StatusOK, items[0])
	}
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

func statusOfComponent(ctx context.Context, c check) *corev1.ComponentStatus {
	condition := corev1.ComponentCondition{Type: corev1.ComponentHealthy, Status: corev1.ConditionTrue, Message: "ok"}
	if err := c.run(ctx); err != nil {
		condition = corev1.ComponentCondition{Type: corev1.ComponentHealthy, Status: corev1.ConditionFalse, Message: err.Error()}
	}
	return &corev1.ComponentStatus{ObjectMeta: metav1.ObjectMeta{Name: c.name}, Conditions: []corev1.ComponentCondition{condition}}
}
