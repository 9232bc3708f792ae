// Package replicaset keeps every ReplicaSet and ReplicationController at spec.replicas running pods. plan
// decides: a pure function with no clock, client or log of its own. Controller acts.
package replicaset

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/controllers/owner"
	"clipper/controllers/pods"
	"clipper/controllers/queue"
)

const workers = 5

// A Controller keeps the sets of one kind.
type Controller struct {
	kind    kind
	client  api.Client
	control pods.Control
	queue   *queue.Queue[owner.Key]
	now     func() time.Time
}

// New returns the controller of ReplicaSets.
func New(c api.Client, events pods.Eventer) *Controller { return newController(replicaSets, c, events) }

// NewForReplicationControllers returns the controller of ReplicationControllers.
func NewForReplicationControllers(c api.Client, events pods.Eventer) *Controller {
	return newController(replicationControllers, c, events)
}

func newController(k kind, client api.Client, events pods.Eventer) *Controller {
	c := &Controller{kind: k, client: client, control: pods.Control{Client: client, Events: events}, now: time.Now}
	c.queue = queue.New(k.queue, workers, c.sync)
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	sets := api.TypedView[api.Object]{View: c.client.View(c.kind.resource)}
	adopters := owner.EnqueueAdopters(sets, c.kind.selector, c.queue.Add)
	return c.queue.Run(ctx,
		queue.Source{View: c.client.View(c.kind.resource), Handle: owner.EnqueueObject(c.queue.Add)},
		queue.Source{View: c.client.View(api.Pods.Resource), Handle: owner.EnqueueController(c.kind.resource, c.queue.Add, adopters)},
	)
}

func (c *Controller) sync(ctx context.Context, k owner.Key) error {
	obj, ok := c.client.View(c.kind.resource).Get(k.Namespace, k.Name)
	if !ok {
		return nil
	}
	s, err := c.kind.wrap(obj)
	if err != nil {
		return fmt.Errorf("%s %s: selector: %w", c.kind.resource.Kind, k, err)
	}
	ref := owner.Ref(obj, c.kind.resource)
	view := api.Pods.View(c.client)
	mine, err := owner.Claim(ctx, c.client, api.Pods.Resource, obj, ref, s.selector, owner.Candidates(view, obj))
	if err != nil {
		return err
	}
	failure, reason := c.carryOut(ctx, s, ref, plan(s, mine, relatedOnNode(c.siblings(obj)), c.now()))
	// The view shows the writes just made; count from it.
	mine = view.ByIndex(api.ByController, string(obj.GetUID()))
	st, wait := s.next(mine, failure, reason, c.now())
	if wait > 0 {
		c.queue.AddAfter(k, wait)
	}
	if err := c.kind.write(ctx, c.client, s, st); err != nil {
		return errors.Join(failure, err)
	}
	if left := len(pods.Filter(mine, pods.Active)) - int(s.replicas); failure == nil && left != 0 && obj.GetDeletionTimestamp() == nil {
		c.queue.Add(k) // more than one burst
	}
	if apierrors.HasStatusCause(failure, corev1.NamespaceTerminatingCause) {
		return nil // trying again is pointless
	}
	return failure
}

// carryOut applies p and returns what failed with the reason for the status.
func (c *Controller) carryOut(ctx context.Context, s *set, ref *metav1.OwnerReference, p Plan) (error, string) {
	if p.Create > 0 {
		_, err := pods.Each(p.Create, func(int) error {
			_, err := c.control.Create(ctx, s.object, pods.FromTemplate(s.template, s.object, ref))
			return err
		})
		return err, "FailedCreate"
	}
	var errs []error
	for _, p := range p.Delete {
		errs = append(errs, c.control.Delete(ctx, s.object, p))
	}
	return errors.Join(errs...), "FailedDelete"
}

// siblings returns the pods of all sets that share obj's controller (the ReplicaSets of a Deployment), or
// just obj's own.
func (c *Controller) siblings(obj api.Object) []*corev1.Pod {
	view := api.Pods.View(c.client)
	ref := metav1.GetControllerOfNoCopy(obj)
	if ref == nil || c.kind.resource != api.ReplicaSets.Resource {
		return view.ByIndex(api.ByController, string(obj.GetUID()))
	}
	var out []*corev1.Pod
	for _, rs := range api.ReplicaSets.View(c.client).ByIndex(api.ByController, string(ref.UID)) {
		out = append(out, view.ByIndex(api.ByController, string(rs.UID))...)
	}
	return out
}
