// Package tainteviction deletes the pods that do not tolerate their node's NoExecute taints, at once or when
// the time is up for which they do.
package tainteviction

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"clipper/api"
	"clipper/controllers/owner"
	"clipper/controllers/pods"
	"clipper/controllers/queue"
)

const workers = 8

// A sentence is what a pod's tolerations make of its node's taints.
type sentence struct {
	evict bool
	after time.Duration // from when the taints were first seen beside the pod
}

// judge looks at the NoExecute taints only. Each must be tolerated; the shortest toleration counts.
func judge(taints []corev1.Taint, tolerations []corev1.Toleration) sentence {
	s := sentence{}
	for i := range taints {
		t := &taints[i]
		if t.Effect != corev1.TaintEffectNoExecute {
			continue
		}
		tolerated := false
		for j := range tolerations {
			tol := &tolerations[j]
			if !tol.ToleratesTaint(klog.Background(), t, false) {
				continue
			}
			tolerated = true
			if tol.TolerationSeconds == nil {
				continue
			}
			after := time.Duration(max(0, *tol.TolerationSeconds)) * time.Second
			if !s.evict || after < s.after {
				s = sentence{true, after}
			}
		}
		if !tolerated {
			return sentence{evict: true}
		}
	}
	return s
}

// A Controller evicts pods.
type Controller struct {
	client api.Client
	events pods.Eventer
	queue  *queue.Queue[owner.Key]
	now    func() time.Time

	mu    sync.Mutex
	since map[types.UID]time.Time // when a pod's time began to run
}

// New returns a controller.
func New(c api.Client, events pods.Eventer) *Controller {
	t := &Controller{client: c, events: events, now: time.Now, since: map[types.UID]time.Time{}}
	t.queue = queue.New("noexec_taint_pod", workers, t.sync)
	return t
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	return c.queue.Run(ctx,
		queue.Source{View: c.client.View(api.Nodes.Resource), Handle: c.nodeChanged},
		queue.Source{View: c.client.View(api.Pods.Resource), Handle: c.podChanged},
	)
}

func (c *Controller) nodeChanged(e api.Event) {
	n := e.Object().(*corev1.Node)
	if e.Old != nil && e.New != nil && apiequality.Semantic.DeepEqual(noExecute(e.Old.(*corev1.Node)), noExecute(n)) {
		return
	}
	if e.Old == nil && len(noExecute(n)) == 0 {
		return
	}
	for _, p := range api.Pods.View(c.client).ByIndex(api.ByNode, n.Name) {
		c.queue.Add(owner.KeyOf(p))
	}
}

func noExecute(n *corev1.Node) []corev1.Taint {
	return slices.DeleteFunc(slices.Clone(n.Spec.Taints), func(t corev1.Taint) bool { return t.Effect != corev1.TaintEffectNoExecute })
}

func (c *Controller) podChanged(e api.Event) {
	p := e.Object().(*corev1.Pod)
	if e.Type == api.Deleted {
		c.forget(p)
		return
	}
	if p.Spec.NodeName == "" {
		return
	}
	if e.Old != nil {
		old := e.Old.(*corev1.Pod)
		if old.Spec.NodeName == p.Spec.NodeName && apiequality.Semantic.DeepEqual(old.Spec.Tolerations, p.Spec.Tolerations) {
			return
		}
	}
	if n, ok := api.Nodes.View(c.client).Get("", p.Spec.NodeName); ok && len(noExecute(n)) > 0 {
		c.queue.Add(owner.KeyOf(p))
	}
}

// forget stops p's time and says whether it was running.
func (c *Controller) forget(p *corev1.Pod) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ran := c.since[p.UID]
	delete(c.since, p.UID)
	return ran
}

func (c *Controller) sync(ctx context.Context, k owner.Key) error {
	p, ok := api.Pods.View(c.client).Get(k.Namespace, k.Name)
	if !ok || p.DeletionTimestamp != nil {
		return nil
	}
	n, ok := api.Nodes.View(c.client).Get("", p.Spec.NodeName)
	if !ok {
		return nil
	}
	s := judge(n.Spec.Taints, p.Spec.Tolerations)
	if !s.evict {
		if c.forget(p) {
			c.events.Event(p, corev1.EventTypeNormal, "TaintManagerEviction", "Cancelling deletion of Pod %s/%s", p.Namespace, p.Name)
		}
		return nil
	}
	due := c.start(p).Add(s.after)
	if left := due.Sub(c.now()); left > 0 {
		c.queue.AddAfter(k, left)
		return nil
	}
	if err := c.evict(ctx, p); err != nil {
		return err
	}
	deletions.Inc()
	lateness.Observe(c.now().Sub(due).Seconds())
	return nil
}

// start returns when p's time began, which is now if it has not.
func (c *Controller) start(p *corev1.Pod) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.since[p.UID]
	if !ok {
		at = c.now()
		c.since[p.UID] = at
	}
	return at
}

// evict says in the pod's status why it goes, then deletes it.
func (c *Controller) evict(ctx context.Context, p *corev1.Pod) error {
	c.events.Event(p, corev1.EventTypeNormal, "TaintManagerEviction", "Marking for deletion Pod %s/%s", p.Namespace, p.Name)
	_, err := api.Pods.Mutate(ctx, c.client, p.Namespace, p.Name, "status", func(now *corev1.Pod) (bool, error) {
		if now.UID != p.UID || pods.Condition(now, corev1.DisruptionTarget) != nil {
			return false, nil
		}
		now.Status.Conditions = append(now.Status.Conditions, corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByTaintManager",
			Message: "Taint manager: deleting due to NoExecute taint", LastTransitionTime: metav1.NewTime(c.now()),
		})
		return true, nil
	})
	if err == nil {
		err = api.Pods.DeleteThis(ctx, c.client, p, metav1.DeleteOptions{})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("evict pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	return nil
}
