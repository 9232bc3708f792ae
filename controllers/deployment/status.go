package deployment

import (
	"fmt"
	"math"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The reasons of conditions, as clients know them.
const (
	minimumAvailable   = "MinimumReplicasAvailable"
	minimumUnavailable = "MinimumReplicasUnavailable"
	newSetAvailable    = "NewReplicaSetAvailable"
	newSetCreated      = "NewReplicaSetCreated"
	newSetFailed       = "ReplicaSetCreateError"
	setUpdated         = "ReplicaSetUpdated"
	deadlineExceeded   = "ProgressDeadlineExceeded"
	foundNewSet        = "FoundNewReplicaSet"
	deploymentPaused   = "DeploymentPaused"
	deploymentResumed  = "DeploymentResumed"
)

type conditions = []appsv1.DeploymentCondition

func find(all conditions, t appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range all {
		if all[i].Type == t {
			return &all[i]
		}
	}
	return nil
}

func remove(all conditions, t appsv1.DeploymentConditionType) conditions {
	return slices.DeleteFunc(slices.Clone(all), func(c appsv1.DeploymentCondition) bool { return c.Type == t })
}

// set puts a condition in. Same status and reason: nothing changes. Same status: its transition time stays.
func set(all conditions, t appsv1.DeploymentConditionType, st corev1.ConditionStatus, reason, message string, now time.Time) conditions {
	next := appsv1.DeploymentCondition{
		Type: t, Status: st, Reason: reason, Message: message,
		LastUpdateTime: metav1.NewTime(now), LastTransitionTime: metav1.NewTime(now),
	}
	if old := find(all, t); old != nil {
		if old.Status == st && old.Reason == reason {
			return all
		}
		if old.Status == st {
			next.LastTransitionTime = old.LastTransitionTime
		}
	}
	return append(remove(all, t), next)
}

// status counts the sets' pods.
func status(d *appsv1.Deployment, sets []*appsv1.ReplicaSet, newSet *appsv1.ReplicaSet, now time.Time) appsv1.DeploymentStatus {
	total, avail := sum(sets, existing), sum(sets, available)
	st := appsv1.DeploymentStatus{
		ObservedGeneration:  d.Generation,
		Replicas:            total,
		UpdatedReplicas:     sum([]*appsv1.ReplicaSet{newSet}, existing),
		ReadyReplicas:       sum(sets, ready),
		AvailableReplicas:   avail,
		UnavailableReplicas: max(0, total-avail),
		TerminatingReplicas: terminating(sets),
		CollisionCount:      d.Status.CollisionCount,
		Conditions:          slices.Clone(d.Status.Conditions),
	}
	_, unavailable := limits(d)
	if avail >= *d.Spec.Replicas-unavailable {
		st.Conditions = set(st.Conditions, appsv1.DeploymentAvailable, corev1.ConditionTrue, minimumAvailable, "Deployment has minimum availability.", now)
	} else {
		st.Conditions = set(st.Conditions, appsv1.DeploymentAvailable, corev1.ConditionFalse, minimumUnavailable, "Deployment does not have minimum availability.", now)
	}
	return st
}

func terminating(sets []*appsv1.ReplicaSet) *int32 {
	n := int32(0)
	for _, rs := range sets {
		if rs.Status.TerminatingReplicas == nil {
			return nil
		}
		n += *rs.Status.TerminatingReplicas
	}
	return &n
}

func hasDeadline(d *appsv1.Deployment) bool {
	return d.Spec.ProgressDeadlineSeconds != nil && *d.Spec.ProgressDeadlineSeconds != math.MaxInt32
}

// complete says whether the rollout is over according to st.
func complete(d *appsv1.Deployment, st *appsv1.DeploymentStatus) bool {
	want := *d.Spec.Replicas
	return st.UpdatedReplicas == want && st.Replicas == want && st.AvailableReplicas == want && st.ObservedGeneration >= d.Generation
}

// progressing says whether st is a step forward from d's status.
func progressing(d *appsv1.Deployment, st *appsv1.DeploymentStatus) bool {
	was := d.Status
	return st.UpdatedReplicas > was.UpdatedReplicas ||
		st.Replicas-st.UpdatedReplicas < was.Replicas-was.UpdatedReplicas ||
		st.ReadyReplicas > was.ReadyReplicas || st.AvailableReplicas > was.AvailableReplicas
}

func timedOut(d *appsv1.Deployment, st *appsv1.DeploymentStatus, now time.Time) bool {
	c := find(st.Conditions, appsv1.DeploymentProgressing)
	switch {
	case c == nil, c.Reason == newSetAvailable:
		return false
	case c.Reason == deadlineExceeded:
		return true
	}
	return c.LastUpdateTime.Add(deadline(d)).Before(now)
}

func deadline(d *appsv1.Deployment) time.Duration {
	return time.Duration(*d.Spec.ProgressDeadlineSeconds) * time.Second
}

// rolloutStatus adds to status what it says of the progress, and when to look again.
func rolloutStatus(d *appsv1.Deployment, sets []*appsv1.ReplicaSet, newSet *appsv1.ReplicaSet, now time.Time) (appsv1.DeploymentStatus, time.Duration) {
	st := status(d, sets, newSet, now)
	if failure := failure(sets, newSet); failure != nil {
		st.Conditions = set(st.Conditions, appsv1.DeploymentReplicaFailure, failure.Status, failure.Reason, failure.Message, now)
	} else {
		st.Conditions = remove(st.Conditions, appsv1.DeploymentReplicaFailure)
	}
	if !hasDeadline(d) {
		st.Conditions = remove(st.Conditions, appsv1.DeploymentProgressing)
		return st, 0
	}
	if d.DeletionTimestamp != nil {
		return st, 0
	}
	progress(d, &st, newSet, now)
	return st, recheck(d, &st, now)
}

func progress(d *appsv1.Deployment, st *appsv1.DeploymentStatus, newSet *appsv1.ReplicaSet, now time.Time) {
	const t = appsv1.DeploymentProgressing
	c := find(st.Conditions, t)
	if c == nil && newSet != nil {
		st.Conditions = set(st.Conditions, t, corev1.ConditionTrue, foundNewSet, fmt.Sprintf("Found new replica set %q", newSet.Name), now)
		c = find(st.Conditions, t)
	}
	if c != nil && c.Reason == newSetAvailable && st.Replicas == st.UpdatedReplicas {
		return // it was complete and no new rollout has begun
	}
	subject := fmt.Sprintf("Deployment %q", d.Name)
	if newSet != nil {
		subject = fmt.Sprintf("ReplicaSet %q", newSet.Name)
	}
	switch {
	case complete(d, st):
		st.Conditions = set(st.Conditions, t, corev1.ConditionTrue, newSetAvailable, subject+" has successfully progressed.", now)
	case progressing(d, st):
		next := appsv1.DeploymentCondition{
			Type: t, Status: corev1.ConditionTrue, Reason: setUpdated, Message: subject + " is progressing.",
			LastUpdateTime: metav1.NewTime(now), LastTransitionTime: metav1.NewTime(now),
		}
		if c != nil && c.Status == corev1.ConditionTrue {
			next.LastTransitionTime = c.LastTransitionTime
		}
		st.Conditions = append(remove(st.Conditions, t), next) // always anew: the deadline counts from here
	case timedOut(d, st, now):
		st.Conditions = set(st.Conditions, t, corev1.ConditionFalse, deadlineExceeded, subject+" has timed out progressing.", now)
	}
}

// recheck returns when a rollout that is under way may time out; 0 if none is.
func recheck(d *appsv1.Deployment, st *appsv1.DeploymentStatus, now time.Time) time.Duration {
	c := find(st.Conditions, appsv1.DeploymentProgressing)
	if c == nil || c.Reason == deadlineExceeded || c.Reason == newSetAvailable || complete(d, st) || d.Spec.Paused {
		return 0
	}
	return max(time.Second, c.LastUpdateTime.Add(deadline(d)).Sub(now)+time.Second)
}

// failure returns the ReplicaFailure condition of the newest set, or of any.
func failure(sets []*appsv1.ReplicaSet, newSet *appsv1.ReplicaSet) *appsv1.ReplicaSetCondition {
	var found *appsv1.ReplicaSetCondition
	for _, rs := range sets {
		for i, c := range rs.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure && (found == nil || rs == newSet) {
				found = &rs.Status.Conditions[i]
			}
		}
	}
	return found
}

// pauseCondition notes the begin and end of a pause: the time in between does not count as progress.
func pauseCondition(d *appsv1.Deployment, all conditions, now time.Time) conditions {
	const t = appsv1.DeploymentProgressing
	if !hasDeadline(d) || d.DeletionTimestamp != nil {
		return all
	}
	was := find(d.Status.Conditions, t)
	if was != nil && was.Reason == deadlineExceeded {
		return all
	}
	paused := was != nil && was.Reason == deploymentPaused
	switch {
	case d.Spec.Paused && !paused:
		return set(all, t, corev1.ConditionUnknown, deploymentPaused, "Deployment is paused", now)
	case !d.Spec.Paused && paused:
		return set(all, t, corev1.ConditionUnknown, deploymentResumed, "Deployment is resumed", now)
	}
	return all
}
