// Package disruption computes how many pods of a PodDisruptionBudget may be evicted now. The eviction
// subresource takes from that figure; this controller renews it. plan decides; Controller acts.
package disruption

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"clipper/api"
	"clipper/controllers/owner"
	"clipper/controllers/pods"
	"clipper/controllers/queue"
)

const workers = 2

// A Controller keeps budgets.
type Controller struct {
	client api.Client
	events pods.Eventer
	queue  *queue.Queue[owner.Key]
	now    func() time.Time
}

// New returns a controller.
func New(c api.Client, events pods.Eventer) *Controller {
	d := &Controller{client: c, events: events, now: time.Now}
	d.queue = queue.New("disruption", workers, d.sync)
	return d
}

// Run works until ctx ends. The sizes of controllers need no watch of their own: pods follow them.
func (c *Controller) Run(ctx context.Context) error {
	return c.queue.Run(ctx,
		queue.Source{View: c.client.View(api.PodDisruptionBudgets.Resource), Handle: owner.EnqueueObject(c.queue.Add)},
		queue.Source{View: c.client.View(api.Pods.Resource), Handle: c.podChanged},
	)
}

func (c *Controller) podChanged(e api.Event) {
	for _, b := range api.PodDisruptionBudgets.View(c.client).List(e.Object().GetNamespace()) {
		for _, o := range []api.Object{e.Old, e.New} {
			if o != nil && selects(b, o.(*corev1.Pod)) {
				c.queue.Add(owner.KeyOf(b))
				break
			}
		}
	}
}

// selects: an empty selector is for all pods of the namespace, none at all for none.
func selects(b *policyv1.PodDisruptionBudget, p *corev1.Pod) bool {
	sel, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	return err == nil && sel.Matches(labels.Set(p.Labels))
}

func (c *Controller) sync(ctx context.Context, k owner.Key) error {
	b, ok := api.PodDisruptionBudgets.View(c.client).Get(k.Namespace, k.Name)
	if !ok {
		return nil
	}
	all := pods.Filter(api.Pods.View(c.client).List(k.Namespace), func(p *corev1.Pod) bool { return selects(b, p) })
	if len(all) == 0 {
		c.events.Event(b, corev1.EventTypeNormal, "NoPods", "No matching pods found")
	}
	p := plan(world{budget: b, pods: all, controller: c.controller, now: c.now()})
	for _, e := range p.Events {
		c.events.Event(b, e.kind, e.reason, "%s", e.message)
	}
	if p.Again > 0 {
		c.queue.AddAfter(k, p.Again)
	}
	// A conflict means that an eviction came in between: the next turn counts it.
	return api.WriteStatus(ctx, c.client, api.PodDisruptionBudgets, b,
		func(b *policyv1.PodDisruptionBudget) *policyv1.PodDisruptionBudgetStatus { return &b.Status }, p.Status)
}

// controller finds the object that decides how many pods like p there are.
func (c *Controller) controller(p *corev1.Pod) (scale, bool) {
	if k, ok := owner.Controller(p, api.ReplicaSets.Resource); ok {
		rs, ok := api.ReplicaSets.View(c.client).Get(k.Namespace, k.Name)
		if !ok {
			return scale{}, false
		}
		if k, ok := owner.Controller(rs, api.Deployments.Resource); ok {
			if d, ok := api.Deployments.View(c.client).Get(k.Namespace, k.Name); ok {
				return scale{d.UID, *d.Spec.Replicas}, true
			}
		}
		return scale{rs.UID, *rs.Spec.Replicas}, true
	}
	if k, ok := owner.Controller(p, api.StatefulSets.Resource); ok {
		s, ok := api.StatefulSets.View(c.client).Get(k.Namespace, k.Name)
		if !ok {
			return scale{}, false
		}
		return scale{s.UID, *s.Spec.Replicas}, true
	}
	if k, ok := owner.Controller(p, api.ReplicationControllers.Resource); ok {
		rc, ok := api.ReplicationControllers.View(c.client).Get(k.Namespace, k.Name)
		if !ok {
			return scale{}, false
		}
		return scale{rc.UID, *rc.Spec.Replicas}, true
	}
	return scale{}, false
}
