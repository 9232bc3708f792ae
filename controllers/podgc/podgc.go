// Package podgc deletes pods that nobody will ever run or look at again: those of nodes that are gone or
// marked as out of service, those that were deleted before they had a node, and the oldest finished ones
// beyond a limit.
package podgc

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/controllers/pods"
	"clipper/controllers/queue"
)

// Upstream's figures.
const (
	keepFinished = 12500            // finished pods that are kept
	quarantine   = 40 * time.Second // how long a node must be gone before its pods go
	sweep        = 20 * time.Second // between two counts of finished pods
	workers      = 4
)

// A Controller collects pods.
type Controller struct {
	client api.Client
	queue  *queue.Queue[key]
	keep   int
}

// A key is a node whose pods are looked at, or the finished pods of all.
type key struct {
	node     string
	finished bool
}

// New returns a controller.
func New(c api.Client) *Controller {
	g := &Controller{client: c, keep: keepFinished}
	g.queue = queue.New("podgc", workers, g.sync)
	return g
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	return c.queue.Run(ctx,
		queue.Source{View: c.client.View(api.Nodes.Resource), Handle: c.nodeChanged},
		queue.Source{View: c.client.View(api.Pods.Resource), Handle: c.podChanged},
	)
}

func (c *Controller) nodeChanged(e api.Event) {
	name := e.Object().GetName()
	switch {
	case e.Type == api.Deleted:
		c.queue.AddAfter(key{node: name}, quarantine)
	case outOfService(e.New.(*corev1.Node)):
		c.queue.Add(key{node: name})
	}
}

func (c *Controller) podChanged(e api.Event) {
	if e.New == nil {
		return
	}
	p := e.New.(*corev1.Pod)
	if pods.Finished(p) && (e.Old == nil || !pods.Finished(e.Old.(*corev1.Pod))) {
		c.queue.AddAfter(key{finished: true}, sweep)
	}
	if p.Spec.NodeName == "" {
		if p.DeletionTimestamp != nil {
			c.queue.Add(key{})
		}
		return
	}
	switch n, ok := api.Nodes.View(c.client).Get("", p.Spec.NodeName); {
	case !ok:
		c.queue.AddAfter(key{node: p.Spec.NodeName}, quarantine)
	case outOfService(n) && p.DeletionTimestamp != nil:
		c.queue.Add(key{node: n.Name})
	}
}

// outOfService: an administrator has said that the node is off, so that its pods can be given up.
func outOfService(n *corev1.Node) bool {
	off := slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
	return off && slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue
	})
}

func (c *Controller) sync(ctx context.Context, k key) error {
	if k.finished {
		return c.remove(ctx, surplus(api.Pods.View(c.client).List(""), c.keep), terminated, nil)
	}
	all := api.Pods.View(c.client).ByIndex(api.ByNode, k.node)
	deleted := pods.Filter(all, func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
	if k.node == "" {
		return c.remove(ctx, deleted, neverStarted, nil)
	}
	n, ok := api.Nodes.View(c.client).Get("", k.node)
	switch {
	case !ok:
		return c.remove(ctx, all, orphaned, disruption("PodGC: node no longer exists"))
	case outOfService(n):
		return c.remove(ctx, deleted, outOfUse, nil)
	}
	return nil
}

// surplus returns the oldest finished pods beyond keep, evicted ones first.
func surplus(all []*corev1.Pod, keep int) []*corev1.Pod {
	finished := pods.Filter(all, pods.Finished)
	if len(finished) <= keep {
		return nil
	}
	slices.SortStableFunc(finished, func(a, b *corev1.Pod) int {
		if ea, eb := a.Status.Reason == "Evicted", b.Status.Reason == "Evicted"; ea != eb {
			if ea {
				return -1
			}
			return 1
		}
		return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
	})
	return finished[:len(finished)-keep]
}

func disruption(message string) *corev1.PodCondition {
	return &corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByPodGC", Message: message}
}

// remove deletes pods at once. Unfinished ones are declared failed first: their owners must see how they ended.
func (c *Controller) remove(ctx context.Context, all []*corev1.Pod, reason string, why *corev1.PodCondition) error {
	_, err := pods.Each(len(all), func(i int) error {
		p := all[i]
		_, err := api.Pods.Mutate(ctx, c.client, p.Namespace, p.Name, "status", func(now *corev1.Pod) (bool, error) {
			if now.UID != p.UID || pods.Finished(now) {
				return false, nil
			}
			now.Status.Phase = corev1.PodFailed
			if why != nil && pods.Condition(now, why.Type) == nil {
				cond := *why
				cond.LastTransitionTime = metav1.Now()
				now.Status.Conditions = append(now.Status.Conditions, cond)
			}
			return true, nil
		})
		if err == nil {
			zero := int64(0)
			err = api.Pods.DeleteThis(ctx, c.client, p, metav1.DeleteOptions{GracePeriodSeconds: &zero})
		}
		if err != nil && !apierrors.IsNotFound(err) {
			failures.WithLabelValues(p.Namespace, reason).Inc()
			return fmt.Errorf("collect pod %s/%s: %w", p.Namespace, p.Name, err)
		}
		collected.WithLabelValues(p.Namespace, reason).Inc()
		return nil
	})
	return err
}
