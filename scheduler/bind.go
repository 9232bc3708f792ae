package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/scheduler/cluster"
	"clipper/scheduler/fit"
	"clipper/scheduler/queue"
)

// A binding is a decided placement that is to be written.
type binding struct {
	item    *queue.Item
	node    string
	volumes []fit.Binding
	begun   time.Time // the attempt
}

func (s *Scheduler) carryOut(ctx context.Context, o *outcome) error {
	if o.failure != nil {
		s.reports.add(o.failure)
		return nil
	}
	select {
	case s.bind <- o.binding:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Scheduler) bindLoop(ctx context.Context, group *errgroup.Group) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case b := <-s.bind:
			if len(b.volumes) > 0 {
				// May take minutes: not at the expense of other pods.
				group.Go(func() error { s.bindPod(ctx, b); return nil })
				continue
			}
			s.bindPod(ctx, b)
		}
	}
}

func (s *Scheduler) bindPod(ctx context.Context, b *binding) {
	now := time.Now()
	err := s.bindVolumes(ctx, b)
	now = passed("PreBind", err == nil, now)
	if err == nil {
		err = s.writeBinding(ctx, b)
		now = passed("Bind", err == nil, now)
	}
	pod := b.item.Pod.Pod
	if err == nil {
		attempted(scheduled, b.begun, now)
		boundAfter(b.item.Attempts, b.item.First, now)
		s.events.Event(pod, corev1.EventTypeNormal, "Scheduled", "Successfully assigned %v/%v to %v", pod.Namespace, pod.Name, b.node)
		return
	}
	if ctx.Err() != nil {
		return
	}
	attempted(failed, b.begun, now)
	s.takeBack(b, err)
}

func (s *Scheduler) writeBinding(ctx context.Context, b *binding) error {
	pod := b.item.Pod
	body := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: b.node},
	}
	_, err := s.client.CreateSubresource(ctx, api.Pods.Resource, pod.Namespace, pod.Name, "binding", body)
	return err
}

// takeBack undoes an assumption that could not be written.
func (s *Scheduler) takeBack(b *binding, err error) {
	pod := b.item.Pod
	s.mu.Lock()
	if s.assumed[pod.UID] != b.node {
		s.mu.Unlock()
		return // seen bound, or deleted, meanwhile
	}
	delete(s.assumed, pod.UID)
	s.wokenLocked(s.cluster.Remove(pod.UID), s.cluster.Node(b.node))
	latest, ok := s.world.pods.Get(pod.Namespace, pod.Name)
	gone := apierrors.IsNotFound(err) || !ok || latest.UID != pod.UID || latest.Spec.NodeName != "" || latest.DeletionTimestamp != nil
	if !gone {
		b.item.Pod = cluster.NewPod(latest)
		s.queue.Retry(b.item, err)
		s.wake()
	}
	s.mu.Unlock()
	if gone {
		return
	}
	slog.Debug("binding a pod failed", "pod", pod.Namespace+"/"+pod.Name, "node", b.node, "err", err)
	s.reports.add(&failure{pod: pod.Pod, message: fmt.Sprintf("binding rejected: %v", err), broken: true, clearNomination: true})
}

// volumeWait is how long a provisioner may take to make a volume for a pod.
const volumeWait = 10 * time.Minute

const annSelectedNode = "volume.kubernetes.io/selected-node"

// bindVolumes has the pod's delayed claims bound for the node: it reserves the volumes that are there, names
// the node to the provisioner of the others, and waits until the claims are bound.
func (s *Scheduler) bindVolumes(ctx context.Context, b *binding) error {
	if len(b.volumes) == 0 {
		return nil
	}
	for _, v := range b.volumes {
		if err := s.askFor(ctx, v, b.node); err != nil {
			return fmt.Errorf("bind volumes: %w", err)
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, volumeWait, errors.New("timed out waiting for the condition"))
	defer cancel()
	for {
		changed := s.claims.next() // before looking, or a change in between would be missed
		bound, err := s.allBound(b)
		if err != nil || bound {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("binding volumes: %w", context.Cause(ctx))
		}
	}
}

func (s *Scheduler) askFor(ctx context.Context, v fit.Binding, node string) error {
	if v.Volume == nil {
		_, err := api.PersistentVolumeClaims.Mutate(ctx, s.client, v.Claim.Namespace, v.Claim.Name, "", func(c *corev1.PersistentVolumeClaim) (bool, error) {
			if c.Annotations[annSelectedNode] == node {
				return false, nil
			}
			metav1.SetMetaDataAnnotation(&c.ObjectMeta, annSelectedNode, node)
			return true, nil
		})
		return err
	}
	_, err := api.PersistentVolumes.Mutate(ctx, s.client, "", v.Volume.Name, "", func(pv *corev1.PersistentVolume) (bool, error) {
		if ref := pv.Spec.ClaimRef; ref != nil {
			if ref.UID == v.Claim.UID {
				return false, nil
			}
			if ref.UID != "" || ref.Namespace != v.Claim.Namespace || ref.Name != v.Claim.Name {
				return false, fmt.Errorf("volume %q is bound to claim %s/%s by now", pv.Name, ref.Namespace, ref.Name)
			}
		}
		pv.Spec.ClaimRef = &corev1.ObjectReference{
			Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: v.Claim.Namespace, Name: v.Claim.Name,
			UID: v.Claim.UID, ResourceVersion: v.Claim.ResourceVersion,
		}
		metav1.SetMetaDataAnnotation(&pv.ObjectMeta, "pv.kubernetes.io/bound-by-controller", "yes")
		return true, nil
	})
	return err
}

func (s *Scheduler) allBound(b *binding) (bool, error) {
	pod := b.item.Pod
	if latest, ok := s.world.pods.Get(pod.Namespace, pod.Name); !ok || latest.UID != pod.UID || latest.DeletionTimestamp != nil {
		return false, apierrors.NewNotFound(api.Pods.GroupResource(), pod.Name)
	}
	for _, v := range b.volumes {
		claim, ok := s.world.Claim(v.Claim.Namespace, v.Claim.Name)
		if !ok || claim.UID != v.Claim.UID {
			return false, fmt.Errorf("persistentvolumeclaim %q not found", v.Claim.Name)
		}
		if v.Volume == nil && claim.Spec.VolumeName == "" && claim.Annotations[annSelectedNode] != b.node {
			// The provisioner could not do it there and asks for another node.
			return false, fmt.Errorf("selectedNode annotation reset for PVC %q", claim.Name)
		}
		if claim.Spec.VolumeName == "" || claim.Status.Phase != corev1.ClaimBound {
			return false, nil
		}
	}
	return true, nil
}
