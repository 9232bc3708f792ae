// Package nodelifecycle notices nodes that are lost. A node that renews neither lease nor status gets its
// conditions set to Unknown; conditions become taints; taints with effect NoExecute drive out the pods that
// do not tolerate them: package tainteviction.
package nodelifecycle

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/controllers/pods"
	"clipper/controllers/queue"
)

const workers = 8

// A Controller watches over nodes.
type Controller struct {
	client api.Client
	events pods.Eventer
	queue  *queue.Queue[string]
	now    func() time.Time

	mu      sync.Mutex
	seen    map[string]time.Time // last sign of life, by our own clock
	evicted time.Time            // when a node last began to lose its pods
	lost    map[string]bool      // of every node, whether it is not ready
	nLost   int
}

// New returns a controller.
func New(c api.Client, events pods.Eventer) *Controller {
	n := &Controller{client: c, events: events, now: time.Now, seen: map[string]time.Time{}, lost: map[string]bool{}}
	n.queue = queue.New("node_lifecycle_controller", workers, n.sync)
	return n
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	return c.queue.Run(ctx,
		queue.Source{View: c.client.View(api.Nodes.Resource), Handle: c.nodeChanged},
		queue.Source{View: c.client.View(api.Leases.Resource), Handle: c.leaseChanged},
	)
}

func (c *Controller) nodeChanged(e api.Event) {
	n := e.Object().(*corev1.Node)
	if e.New != nil && (e.Old == nil || heartbeat(e.Old.(*corev1.Node)) != heartbeat(n)) {
		c.sign(n.Name)
	}
	if c.count(e) {
		for _, other := range api.Nodes.View(c.client).List("") {
			c.queue.Add(other.Name) // whether pods may be evicted has changed for all
		}
	}
	if e.New != nil {
		evictions.WithLabelValues(zone(n)) // there, with 0
		c.queue.Add(n.Name)
	}
}

// count follows how many nodes are lost, and says whether that decides otherwise on eviction.
func (c *Controller) count(e api.Event) (flipped bool) {
	n := e.Object().(*corev1.Node)
	c.mu.Lock()
	defer c.mu.Unlock()
	before := mayEvict(c.nLost, len(c.lost))
	if c.lost[n.Name] {
		c.nLost--
	}
	if e.New == nil {
		delete(c.lost, n.Name)
		delete(c.seen, n.Name)
	} else if c.lost[n.Name] = ready(n) != corev1.ConditionTrue; c.lost[n.Name] {
		c.nLost++
	}
	return mayEvict(c.nLost, len(c.lost)) != before
}

func heartbeat(n *corev1.Node) metav1.Time {
	if c := condition(n, corev1.NodeReady); c != nil && c.Status != corev1.ConditionUnknown {
		return c.LastHeartbeatTime
	}
	return metav1.Time{}
}

func (c *Controller) leaseChanged(e api.Event) {
	l := e.Object().(*coordinationv1.Lease)
	if e.New != nil && l.Namespace == corev1.NamespaceNodeLease {
		c.sign(l.Name) // nothing to do now; the node's deadline has moved
	}
}

func (c *Controller) sign(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[node] = c.now()
}

func (c *Controller) sync(ctx context.Context, name string) error {
	n, ok := api.Nodes.View(c.client).Get("", name)
	if !ok || n.DeletionTimestamp != nil {
		return nil
	}
	defer prometheus.NewTimer(looking).ObserveDuration()
	c.mu.Lock()
	end := deadline(n, c.seen[name])
	c.mu.Unlock()
	if left := end.Sub(c.now()); left > 0 {
		c.queue.AddAfter(name, left)
	} else if err := c.giveUp(ctx, n); err != nil {
		return err
	}
	n, ok = api.Nodes.View(c.client).Get("", name)
	if !ok {
		return nil
	}
	return c.setTaints(ctx, n)
}

// giveUp sets the conditions to Unknown and the pods to not ready.
func (c *Controller) giveUp(ctx context.Context, n *corev1.Node) error {
	was := ready(n)
	if _, change := unknown(n, c.now()); !change {
		return nil
	}
	_, err := api.Nodes.Mutate(ctx, c.client, "", n.Name, "status", func(n *corev1.Node) (bool, error) {
		var changed bool
		n.Status.Conditions, changed = unknown(n, c.now())
		return changed, nil
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("node %s: mark as lost: %w", n.Name, err)
	}
	if was == corev1.ConditionTrue {
		c.events.Event(n, corev1.EventTypeNormal, "NodeNotReady", "Node %s status is now: %s", n.Name, "NodeNotReady")
	}
	return c.podsNotReady(ctx, n)
}

// podsNotReady takes the pods of a lost node out of service.
func (c *Controller) podsNotReady(ctx context.Context, n *corev1.Node) error {
	all := api.Pods.View(c.client).ByIndex(api.ByNode, n.Name)
	_, err := pods.Each(len(all), func(i int) error {
		if !pods.Ready(all[i]) {
			return nil
		}
		_, err := api.Pods.Mutate(ctx, c.client, all[i].Namespace, all[i].Name, "status", func(p *corev1.Pod) (bool, error) {
			r := pods.Condition(p, corev1.PodReady)
			if r == nil || r.Status != corev1.ConditionTrue || p.UID != all[i].UID {
				return false, nil
			}
			r.Status, r.LastTransitionTime = corev1.ConditionFalse, metav1.NewTime(c.now())
			return true, nil
		})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("pod %s/%s: mark as not ready: %w", all[i].Namespace, all[i].Name, err)
		}
		c.events.Event(all[i], corev1.EventTypeWarning, "NodeNotReady", "Node is not ready")
		return nil
	})
	return err
}

func (c *Controller) setTaints(ctx context.Context, n *corev1.Node) error {
	c.mu.Lock()
	evict := mayEvict(c.nLost, len(c.lost))
	c.mu.Unlock()
	if t := noExecute(n); evict && t != nil && !contains(n.Spec.Taints, *t) {
		if wait := c.takeTurn(); wait > 0 {
			c.queue.AddAfter(n.Name, wait)
			evict = false
		}
	}
	if _, changed := taints(n, evict, c.now()); !changed {
		return nil
	}
	_, err := api.Nodes.Mutate(ctx, c.client, "", n.Name, "", func(now *corev1.Node) (bool, error) {
		if !apiequality.Semantic.DeepEqual(now.Status.Conditions, n.Status.Conditions) {
			return false, nil // the change brings us back here
		}
		var changed bool
		now.Spec.Taints, changed = taints(now, evict, c.now())
		return changed, nil
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("node %s: set taints: %w", n.Name, err)
	}
	if t := noExecute(n); err == nil && evict && t != nil && !contains(n.Spec.Taints, *t) {
		evictions.WithLabelValues(zone(n)).Inc()
	}
	return nil
}

// takeTurn lets one node at a time begin to lose its pods; it says how long the next has to wait.
func (c *Controller) takeTurn() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if wait := c.evicted.Add(evictionRate).Sub(c.now()); wait > 0 {
		return wait
	}
	c.evicted = c.now()
	return 0
}
