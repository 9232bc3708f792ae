package scheduler

import (
	"context"
	"maps"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/scheduler/cluster"
)

// observe starts to follow everything that decisions depend on. synced waits until all of it has been seen once.
func (s *Scheduler) observe(ctx context.Context, group *errgroup.Group) (synced func(context.Context) error, err error) {
	handlers := map[api.Resource]func(api.Event){
		api.Pods.Resource:                   s.podEvent,
		api.Nodes.Resource:                  s.nodeEvent,
		api.PersistentVolumeClaims.Resource: s.storageEvent(cluster.Claims),
		api.PersistentVolumes.Resource:      s.storageEvent(cluster.Volumes),
		api.StorageClasses.Resource:         s.storageEvent(cluster.Classes),
		api.Namespaces.Resource:             s.namespaceEvent,
	}
	// Looked up, not followed: these only need to be there.
	for _, r := range []api.Resource{api.Services.Resource, api.ReplicaSets.Resource, api.ReplicationControllers.Resource, api.StatefulSets.Resource, api.PodDisruptionBudgets.Resource} {
		if err := s.client.View(r).WaitSynced(ctx); err != nil {
			return nil, err
		}
	}
	done := make(chan struct{}, len(handlers))
	for r, handle := range handlers {
		group.Go(func() error {
			return s.client.View(r).Watch(ctx, func(e api.Event) {
				if e.Type == api.Synced {
					done <- struct{}{}
					return
				}
				handle(e)
			})
		})
	}
	return func(ctx context.Context) error {
		for range handlers {
			select {
			case <-done:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}, nil
}

func (s *Scheduler) nodeEvent(e api.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.Type == api.Deleted {
		s.wokenLocked(s.cluster.RemoveNode(e.Old.GetName()), nil)
		return
	}
	node := e.New.(*corev1.Node)
	s.wokenLocked(s.cluster.SetNode(node), s.cluster.Node(node.Name))
}

func (s *Scheduler) podEvent(e api.Event) {
	pod := e.Object().(*corev1.Pod)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case e.Type == api.Deleted || cluster.Terminal(pod):
		delete(s.assumed, pod.UID)
		s.queue.Remove(pod.UID)
		s.removeLocked(pod)
	case pod.Spec.NodeName != "":
		s.queue.Remove(pod.UID) // bound by someone else, such as a daemon or a user
		delete(s.assumed, pod.UID)
		p := cluster.NewPod(pod)
		s.cluster.Nominate(p, "")
		change := s.cluster.Place(p, pod.Spec.NodeName)
		s.wokenLocked(change, s.cluster.Node(pod.Spec.NodeName))
	case pod.Spec.SchedulerName != Name:
	case pod.DeletionTimestamp != nil:
		s.queue.Remove(pod.UID)
		s.removeLocked(pod)
	default:
		if _, ok := s.assumed[pod.UID]; ok {
			return // decided; its binding is under way
		}
		p := cluster.NewPod(pod)
		// After a restart the promise is only in the status; later what was decided last is newer than it.
		if e.Type == api.Added && pod.Status.NominatedNodeName != "" {
			s.cluster.Nominate(p, pod.Status.NominatedNodeName)
		}
		s.queue.Add(p, len(pod.Spec.SchedulingGates) > 0, s.now())
		s.wake()
	}
}

// removeLocked frees what a pod took. REQUIRES: s.mu.
func (s *Scheduler) removeLocked(pod *corev1.Pod) {
	s.cluster.Nominate(&cluster.Pod{Pod: pod}, "")
	_, node, _ := s.cluster.Placed(pod.UID)
	s.wokenLocked(s.cluster.Remove(pod.UID), s.cluster.Node(node))
}

func (s *Scheduler) storageEvent(change cluster.Change) func(api.Event) {
	return func(api.Event) {
		s.claims.changed()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.wokenLocked(change, nil)
	}
}

func (s *Scheduler) namespaceEvent(e api.Event) {
	if e.Type == api.Modified && maps.Equal(e.Old.GetLabels(), e.New.GetLabels()) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wokenLocked(cluster.Namespaces, nil)
}

// wokenLocked un-parks the pods to which a change may matter. node is where it happened, if at one node.
// REQUIRES: s.mu.
func (s *Scheduler) wokenLocked(change cluster.Change, node *cluster.Node) {
	if change == 0 {
		return
	}
	var may func(*cluster.Pod) bool
	if node != nil && change&^atOneNode == 0 {
		// What does not fit there now either need not be tried on all nodes. A pod with priority may preempt
		// there what it could not before.
		may = func(p *cluster.Pod) bool { return p.Priority() > 0 || s.fitsLocked(p, node) }
	}
	s.queue.Woken(change, may, s.now())
	s.wake()
}

// atOneNode are changes that concern pods by the node alone, unless they depend on other pods.
const atOneNode = cluster.NodeAdded | cluster.NodeAllocatable | cluster.NodeLabels | cluster.NodeTaints | cluster.NodeFeatures | cluster.PodRemoved
