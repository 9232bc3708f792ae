package replicaset

import (
	"context"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"clipper/api"
)

// The two kinds have the same status but for the names of the types; ReplicaSet's stand for both.
type (
	condition = appsv1.ReplicaSetCondition
	status    appsv1.ReplicaSetStatus
)

func (st status) clone() status {
	st.Conditions = slices.Clone(st.Conditions)
	return st
}

// A set is a ReplicaSet or a ReplicationController as the core sees it. It is read-only.
type set struct {
	object            api.Object
	replicas          int32
	minReady          int32
	selector          labels.Selector
	template          *corev1.PodTemplateSpec
	status            status
	countsTerminating bool
}

// A kind is what the shell needs to know of ReplicaSet or ReplicationController.
type kind struct {
	resource api.Resource
	queue    string // its name in upstream's metrics
	wrap     func(api.Object) (*set, error)
	// write stores a new status if it differs from s's.
	write func(ctx context.Context, c api.Client, s *set, st status) error
}

func (k kind) selector(o api.Object) (labels.Selector, error) {
	s, err := k.wrap(o)
	return s.selector, err
}

var replicaSets = kind{
	resource: api.ReplicaSets.Resource,
	queue:    "replicaset",

	wrap: func(o api.Object) (*set, error) {
		rs := o.(*appsv1.ReplicaSet)
		sel, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
		return &set{
			object: rs, replicas: *rs.Spec.Replicas, minReady: rs.Spec.MinReadySeconds, selector: sel,
			template: &rs.Spec.Template, status: status(rs.Status), countsTerminating: true,
		}, err
	},
	write: func(ctx context.Context, c api.Client, s *set, st status) error {
		return api.WriteStatus(ctx, c, api.ReplicaSets, s.object.(*appsv1.ReplicaSet),
			func(rs *appsv1.ReplicaSet) *appsv1.ReplicaSetStatus { return &rs.Status }, appsv1.ReplicaSetStatus(st))
	},
}

var replicationControllers = kind{
	resource: api.ReplicationControllers.Resource,
	queue:    "replicationmanager",

	wrap: func(o api.Object) (*set, error) {
		rc := o.(*corev1.ReplicationController)
		st := status{
			Replicas: rc.Status.Replicas, FullyLabeledReplicas: rc.Status.FullyLabeledReplicas,
			ReadyReplicas: rc.Status.ReadyReplicas, AvailableReplicas: rc.Status.AvailableReplicas,
			ObservedGeneration: rc.Status.ObservedGeneration,
		}
		for _, c := range rc.Status.Conditions {
			st.Conditions = append(st.Conditions, condition{
				Type: appsv1.ReplicaSetConditionType(c.Type), Status: c.Status, Reason: c.Reason,
				Message: c.Message, LastTransitionTime: c.LastTransitionTime,
			})
		}
		return &set{
			object: rc, replicas: *rc.Spec.Replicas, minReady: rc.Spec.MinReadySeconds,
			selector: labels.SelectorFromSet(rc.Spec.Selector), template: rc.Spec.Template, status: st,
		}, nil
	},
	write: func(ctx context.Context, c api.Client, s *set, st status) error {
		next := corev1.ReplicationControllerStatus{
			Replicas: st.Replicas, FullyLabeledReplicas: st.FullyLabeledReplicas, ReadyReplicas: st.ReadyReplicas,
			AvailableReplicas: st.AvailableReplicas, ObservedGeneration: st.ObservedGeneration,
		}
		for _, c := range st.Conditions {
			next.Conditions = append(next.Conditions, corev1.ReplicationControllerCondition{
				Type: corev1.ReplicationControllerConditionType(c.Type), Status: c.Status, Reason: c.Reason,
				Message: c.Message, LastTransitionTime: c.LastTransitionTime,
			})
		}
		return api.WriteStatus(ctx, c, api.ReplicationControllers, s.object.(*corev1.ReplicationController),
			func(rc *corev1.ReplicationController) *corev1.ReplicationControllerStatus { return &rc.Status }, next)
	},
}
