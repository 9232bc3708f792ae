package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
)

// A failure is an attempt that gave no node: what to tell the user, and the pods that must make room.
type failure struct {
	pod             *corev1.Pod
	message         string
	broken          bool // an error, not a lack of room
	nominate        string
	clearNomination bool
	victims         []*corev1.Pod
}

// longestNote is the API's limit for the text of an event.
const longestNote = 1024

// reports holds failures until they are written. A pod's newer one replaces the older: when hundreds of pods
// wait and things change all the time, users need the last word, not all of them.
type reports struct {
	mu      sync.Mutex
	pending map[types.UID]*failure
	order   []types.UID
	busy    types.UID // whose failure is being written
	some    chan struct{}
}

func newReports() *reports {
	return &reports{pending: map[types.UID]*failure{}, some: make(chan struct{}, 1)}
}

func (r *reports) add(f *failure) {
	r.mu.Lock()
	if old, ok := r.pending[f.pod.UID]; ok {
		f.victims = append(old.victims, f.victims...) // those must go in any case: room was promised for them
	} else {
		r.order = append(r.order, f.pod.UID)
	}
	r.pending[f.pod.UID] = f
	r.mu.Unlock()
	select {
	case r.some <- struct{}{}:
	default:
	}
}

func (r *reports) take() *failure {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy = ""
	if len(r.order) == 0 {
		return nil
	}
	f := r.pending[r.order[0]]
	delete(r.pending, r.order[0])
	r.order = r.order[1:]
	if len(f.victims) > 0 {
		r.busy = f.pod.UID
	}
	return f
}

// evicting reports whether pods are about to be removed for the one with this UID.
func (r *reports) evicting(uid types.UID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.pending[uid]
	return r.busy == uid || f != nil && len(f.victims) > 0
}

func (s *Scheduler) reportLoop(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.reports.some:
		}
		for f := s.reports.take(); f != nil; f = s.reports.take() {
			s.report(ctx, f)
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
}

// report writes a failure to the pod's events and status, after its victims are gone.
func (s *Scheduler) report(ctx context.Context, f *failure) {
	for _, v := range f.victims {
		if err := s.evict(ctx, f.pod, v, f.nominate); err != nil && ctx.Err() == nil {
			slog.Warn("preempting a pod failed", "pod", v.Namespace+"/"+v.Name, "for", f.pod.Namespace+"/"+f.pod.Name, "err", err)
		}
	}
	note := f.message
	if len(note) > longestNote {
		const more = " ..."
		note = note[:longestNote-len(more)] + more
	}
	s.events.Event(f.pod, corev1.EventTypeWarning, "FailedScheduling", "%s", note)
	_, err := api.Pods.Mutate(ctx, s.client, f.pod.Namespace, f.pod.Name, "status", func(p *corev1.Pod) (bool, error) {
		if p.UID != f.pod.UID || p.Spec.NodeName != "" {
			return false, nil
		}
		return f.apply(p), nil
	})
	if err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
		slog.Warn("writing why a pod has no node failed", "pod", f.pod.Namespace+"/"+f.pod.Name, "err", err)
	}
}

// apply puts the failure into a pod's status and reports whether that changed it.
func (f *failure) apply(p *corev1.Pod) bool {
	reason := corev1.PodReasonUnschedulable
	if f.broken {
		reason = corev1.PodReasonSchedulerError
	}
	changed := setCondition(&p.Status, corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: reason, Message: f.message,
	})
	nominated := p.Status.NominatedNodeName
	switch {
	case f.nominate != "":
		nominated = f.nominate
	case f.clearNomination:
		nominated = ""
	}
	if nominated != p.Status.NominatedNodeName {
		p.Status.NominatedNodeName = nominated
		changed = true
	}
	return changed
}

func setCondition(status *corev1.PodStatus, c corev1.PodCondition) bool {
	for i := range status.Conditions {
		old := &status.Conditions[i]
		if old.Type != c.Type {
			continue
		}
		if old.Status == c.Status && old.Reason == c.Reason && old.Message == c.Message {
			return false
		}
		c.LastTransitionTime, c.LastProbeTime = old.LastTransitionTime, old.LastProbeTime
		if old.Status != c.Status {
			c.LastTransitionTime = metav1.Now()
		}
		*old = c
		return true
	}
	c.LastTransitionTime = metav1.Now()
	status.Conditions = append(status.Conditions, c)
	return true
}

// evict removes a victim: the reason goes into its status first, so that its owner can tell.
func (s *Scheduler) evict(ctx context.Context, preemptor, victim *corev1.Pod, node string) error {
	_, err := api.Pods.Mutate(ctx, s.client, victim.Namespace, victim.Name, "status", func(p *corev1.Pod) (bool, error) {
		if p.UID != victim.UID {
			return false, nil
		}
		return setCondition(&p.Status, corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonPreemptionByScheduler,
			Message: fmt.Sprintf("%s: preempting to accommodate a higher priority pod", Name),
		}), nil
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("set condition DisruptionTarget: %w", err)
	}
	err = api.Pods.DeleteThis(ctx, s.client, victim, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // gone, or replaced by another of its name
	}
	if err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	s.events.Event(victim, corev1.EventTypeNormal, "Preempted", "Preempted by pod %v on node %v", preemptor.UID, node)
	return nil
}
