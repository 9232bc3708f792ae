package nodelifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/controllers/queue"
)

// An eventRecorder is the part of api/record that is needed.
type eventRecorder interface {
	Event(about api.Object, eventType, reason, format string, args ...any)
}

// workers bounds how many nodes are looked after at once.
const workers = 8

// A Controller watches over nodes while Run runs.
type Controller struct {
	client api.Client
	events eventRecorder
	now    func() time.Time
	queue  *queue.Queue[string] // of node names

	nodes  api.TypedView[*corev1.Node]
	pods   api.TypedView[*corev1.Pod]
	leases api.View

	mu    sync.Mutex
	heard map[string]time.Time // by node: when its lease or status last changed, by our clock
}

// New returns a controller; it starts nothing.
func New(c api.Client, events eventRecorder) *Controller {
	k := &Controller{
		client: c, events: events, now: time.Now, heard: map[string]time.Time{},
		nodes: api.Nodes.View(c), pods: api.Pods.View(c), leases: c.View(api.Leases.Resource),
	}
	k.queue = queue.New("node-lifecycle", workers, k.reconcile)
	return k
}

// Run works until ctx ends.
func (k *Controller) Run(ctx context.Context) error {
	return k.queue.Run(ctx,
		queue.Source{View: k.nodes.View, Handle: k.nodeChanged},
		queue.Source{View: k.leases, Handle: k.leaseChanged},
		queue.Source{View: k.pods.View, Handle: k.podChanged},
	)
}

func (k *Controller) nodeChanged(e api.Event) {
	name := e.Object().GetName()
	if e.New == nil {
		k.mu.Lock()
		delete(k.heard, name)
		k.mu.Unlock()
		return
	}
	was, _ := e.Old.(*corev1.Node)
	if was == nil || newestHeartbeat(was) != newestHeartbeat(e.New.(*corev1.Node)) {
		k.hear(name)
	}
	k.queue.Add(name)
}

// newestHeartbeat is the kubelet's last word in the status.
func newestHeartbeat(n *corev1.Node) (t metav1.Time) {
	for _, c := range n.Status.Conditions {
		if t.Before(&c.LastHeartbeatTime) {
			t = c.LastHeartbeatTime
		}
	}
	return t
}

func (k *Controller) leaseChanged(e api.Event) {
	if l := e.New; l != nil && l.GetNamespace() == corev1.NamespaceNodeLease {
		k.hear(l.GetName())
	}
}

func (k *Controller) podChanged(e api.Event) {
	pod, ok := e.New.(*corev1.Pod)
	if !ok || pod.Spec.NodeName == "" {
		return
	}
	if was, ok := e.Old.(*corev1.Pod); ok && was.Spec.NodeName == pod.Spec.NodeName && len(was.Spec.Tolerations) == len(pod.Spec.Tolerations) {
		return // only a new place or new tolerations (they can be added, not changed) matter
	}
	k.queue.Add(pod.Spec.NodeName)
}

func (k *Controller) hear(node string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.heard[node] = k.now()
}

func (k *Controller) lastHeard(node string) time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.heard[node]
}

// reconcile brings one node's conditions, taints and pods to what they should be.
func (k *Controller) reconcile(ctx context.Context, name string) error {
	node, ok := k.nodes.Get("", name)
	if !ok {
		return nil
	}
	now := k.now()
	if left := gracePeriod - now.Sub(k.lastHeard(name)); left > 0 {
		k.queue.AddAfter(name, left) // by then it has been heard of again, as a rule
	} else if conditions, changed := silent(node, now); changed {
		var err error
		if node, err = k.lose(ctx, node, conditions); err != nil || node == nil {
			return err
		}
	}
	if want, changed := taints(node, now); changed {
		next := node.DeepCopy()
		next.Spec.Taints = want
		updated, err := api.Nodes.Update(ctx, k.client, next)
		if err != nil {
			return failed(node, "set its taints", err)
		}
		node = updated
	}
	return errors.Join(k.markPods(ctx, node, now), k.evict(ctx, node, now))
}

// lose marks a silent node. It returns nil if the node has been deleted.
func (k *Controller) lose(ctx context.Context, node *corev1.Node, conditions []corev1.NodeCondition) (*corev1.Node, error) {
	next := node.DeepCopy()
	next.Status.Conditions = conditions
	updated, err := api.Nodes.UpdateStatus(ctx, k.client, next)
	if err != nil {
		return nil, failed(node, "mark it as lost", err)
	}
	k.events.Event(updated, corev1.EventTypeNormal, "NodeNotReady", "Node %s status is now: NodeNotReady", node.Name)
	return updated, nil
}

func failed(node *corev1.Node, what string, err error) error {
	if apierrors.IsNotFound(err) {
		return nil // it has been deleted
	}
	return fmt.Errorf("node %s: %s: %w", node.Name, what, err)
}

// markPods takes the pods of a node that is not ready out of service.
func (k *Controller) markPods(ctx context.Context, node *corev1.Node, now time.Time) error {
	if isReady(node) {
		return nil
	}
	var errs []error
	for _, pod := range k.pods.ByIndex(api.ByNode, node.Name) {
		conditions, ok := unready(pod, now)
		if !ok {
			continue
		}
		next := pod.DeepCopy()
		next.Status.Conditions = conditions
		if _, err := api.Pods.UpdateStatus(ctx, k.client, next); err != nil {
			if !apierrors.IsNotFound(err) {
				errs = append(errs, fmt.Errorf("pod %s/%s: mark as not ready: %w", pod.Namespace, pod.Name, err))
			}
			continue
		}
		k.events.Event(pod, corev1.EventTypeWarning, "NodeNotReady", "Node is not ready")
	}
	return errors.Join(errs...)
}

// isReady reports whether the node has said that it is, or has not said anything yet.
func isReady(node *corev1.Node) bool {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return true
}

// evict deletes the pods that do not tolerate the node's taints, and comes back for those that do for a while.
func (k *Controller) evict(ctx context.Context, node *corev1.Node, now time.Time) error {
	var errs []error
	for _, pod := range k.pods.ByIndex(api.ByNode, node.Name) {
		if pod.DeletionTimestamp != nil {
			continue
		}
		at, ok := evictAt(pod, node.Spec.Taints)
		if !ok {
			continue
		}
		if wait := at.Sub(now); wait > 0 {
			k.queue.AddAfter(node.Name, wait)
			continue
		}
		errs = append(errs, k.deletePod(ctx, pod, now))
	}
	return errors.Join(errs...)
}

func (k *Controller) deletePod(ctx context.Context, pod *corev1.Pod, now time.Time) error {
	k.events.Event(pod, corev1.EventTypeNormal, "TaintManagerEviction", "Marking for deletion Pod %s/%s", pod.Namespace, pod.Name)
	_, err := api.Pods.Mutate(ctx, k.client, pod.Namespace, pod.Name, "status", func(p *corev1.Pod) (bool, error) {
		if p.UID != pod.UID {
			return false, nil
		}
		return disrupt(p, now), nil
	})
	if err == nil {
		err = api.Pods.Delete(ctx, k.client, pod.Namespace, pod.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pod.UID}})
	}
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("pod %s/%s: evict from node %s: %w", pod.Namespace, pod.Name, pod.Spec.NodeName, err)
	}
	return nil
}

// disrupt says in p's conditions why it goes.
func disrupt(p *corev1.Pod, now time.Time) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			return false
		}
	}
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByTaintManager",
		Message: "Taint manager: deleting due to NoExecute taint", LastTransitionTime: metav1.NewTime(now),
		ObservedGeneration: p.Generation,
	})
	return true
}
