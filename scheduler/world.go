package scheduler

import (
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"clipper/api"
	"clipper/scheduler/cluster"
	"clipper/scheduler/fit"
)

// world answers the decision core's lookups from the API's views, which are in memory.
type world struct {
	fit fit.World

	pods        api.TypedView[*corev1.Pod]
	claims      api.TypedView[*corev1.PersistentVolumeClaim]
	volumes     api.TypedView[*corev1.PersistentVolume]
	classes     api.TypedView[*storagev1.StorageClass]
	services    api.TypedView[*corev1.Service]
	disruptions api.TypedView[*policyv1.PodDisruptionBudget]
	client      api.Client
}

func newWorld(c api.Client) *world {
	w := &world{
		client: c, pods: api.Pods.View(c), claims: api.PersistentVolumeClaims.View(c), volumes: api.PersistentVolumes.View(c),
		classes: api.StorageClasses.View(c), services: api.Services.View(c), disruptions: api.PodDisruptionBudgets.View(c),
	}
	namespaces := api.Namespaces.View(c)
	w.fit = fit.World{
		Storage: w, Spread: w.spreadSelector,
		Namespaces: func(ns string) map[string]string {
			if n, ok := namespaces.Get("", ns); ok {
				return n.Labels
			}
			return nil
		},
	}
	return w
}

// Claim implements fit.Storage.
func (w *world) Claim(namespace, name string) (*corev1.PersistentVolumeClaim, bool) {
	return w.claims.Get(namespace, name)
}

// Volume implements fit.Storage.
func (w *world) Volume(name string) (*corev1.PersistentVolume, bool) { return w.volumes.Get("", name) }

// Volumes implements fit.Storage.
func (w *world) Volumes() []*corev1.PersistentVolume { return w.volumes.List("") }

// Class implements fit.Storage.
func (w *world) Class(name string) (*storagev1.StorageClass, bool) { return w.classes.Get("", name) }

func (w *world) budgets() []*policyv1.PodDisruptionBudget { return w.disruptions.List("") }

// spreadSelector joins the selectors of all services that a pod belongs to and of its controller.
func (w *world) spreadSelector(pod *corev1.Pod) labels.Selector {
	joined := labels.Set{}
	for _, svc := range w.services.List(pod.Namespace) {
		if len(svc.Spec.Selector) > 0 && labels.SelectorFromSet(svc.Spec.Selector).Matches(labels.Set(pod.Labels)) {
			joined = labels.Merge(joined, svc.Spec.Selector)
		}
	}
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return joined.AsSelector()
	}
	switch owner.Kind {
	case "ReplicationController":
		if rc, ok := api.ReplicationControllers.View(w.client).Get(pod.Namespace, owner.Name); ok {
			joined = labels.Merge(joined, rc.Spec.Selector)
		}
	case "ReplicaSet":
		if rs, ok := api.ReplicaSets.View(w.client).Get(pod.Namespace, owner.Name); ok {
			return with(joined, rs.Spec.Selector)
		}
	case "StatefulSet":
		if ss, ok := api.StatefulSets.View(w.client).Get(pod.Namespace, owner.Name); ok {
			return with(joined, ss.Spec.Selector)
		}
	}
	return joined.AsSelector()
}

func with(set labels.Set, s *metav1.LabelSelector) labels.Selector {
	joined := set.AsSelector()
	requirements, selectable := cluster.Selector(s).Requirements()
	if !selectable {
		return joined
	}
	return joined.Add(requirements...)
}
