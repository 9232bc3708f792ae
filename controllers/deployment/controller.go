// Package deployment rolls out Deployments: it makes a ReplicaSet for every pod template and moves pods
// from the old ones to the newest within the limits of the strategy. plan decides one step from the
// objects as they are; Controller carries it out, and the effects bring the next.
package deployment

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"clipper/api"
	"clipper/controllers/history"
	"clipper/controllers/owner"
	"clipper/controllers/pods"
	"clipper/controllers/queue"
)

const workers = 5

// Component is the events' source.
const Component = "deployment-controller"

// A Controller rolls out Deployments.
type Controller struct {
	client api.Client
	events pods.Eventer
	queue  *queue.Queue[owner.Key]
	now    func() time.Time
}

// New returns a controller.
func New(c api.Client, events pods.Eventer) *Controller {
	d := &Controller{client: c, events: events, now: time.Now}
	d.queue = queue.New("deployment", workers, d.sync)
	return d
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	adopters := owner.EnqueueAdopters(api.Deployments.View(c.client), selector, c.queue.Add)
	return c.queue.Run(ctx,
		queue.Source{View: c.client.View(api.Deployments.Resource), Handle: owner.EnqueueObject(c.queue.Add)},
		queue.Source{View: c.client.View(api.ReplicaSets.Resource), Handle: owner.EnqueueController(api.Deployments.Resource, c.queue.Add, adopters)},
		queue.Source{View: c.client.View(api.Pods.Resource), Handle: c.podGone},
	)
}

func selector(d *appsv1.Deployment) (labels.Selector, error) {
	return metav1.LabelSelectorAsSelector(d.Spec.Selector)
}

// podGone wakes a Recreate rollout that may have waited for this pod to end.
func (c *Controller) podGone(e api.Event) {
	if e.Type != api.Deleted && !(e.Type == api.Modified && pods.Finished(e.New.(*corev1.Pod)) && !pods.Finished(e.Old.(*corev1.Pod))) {
		return
	}
	set, ok := owner.Controller(e.Object(), api.ReplicaSets.Resource)
	if !ok {
		return
	}
	rs, ok := api.ReplicaSets.View(c.client).Get(set.Namespace, set.Name)
	if !ok {
		return
	}
	if k, ok := owner.Controller(rs, api.Deployments.Resource); ok {
		if d, ok := api.Deployments.View(c.client).Get(k.Namespace, k.Name); ok && d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
			c.queue.Add(k)
		}
	}
}

func (c *Controller) sync(ctx context.Context, k owner.Key) error {
	d, ok := api.Deployments.View(c.client).Get(k.Namespace, k.Name)
	if !ok {
		return nil
	}
	sel, err := selector(d)
	if err != nil {
		return fmt.Errorf("deployment %s: selector: %w", k, err)
	}
	if sel.Empty() {
		c.events.Event(d, corev1.EventTypeWarning, "SelectingAll", "This deployment is selecting all pods. A non-empty selector is required.")
		st := d.Status
		st.ObservedGeneration = d.Generation
		return c.writeStatus(ctx, d, st)
	}
	sets, err := owner.Claim(ctx, c.client, api.ReplicaSets.Resource, d, owner.Ref(d, api.Deployments.Resource), sel,
		owner.Candidates(api.ReplicaSets.View(c.client), d))
	if err != nil {
		return err
	}
	slices.SortFunc(sets, byAge)
	w := world{d: d, sets: sets, now: c.now(), oldPods: func(newSet *appsv1.ReplicaSet) int { return c.oldPods(sets, newSet) }}
	return c.carryOut(ctx, w, plan(w))
}

// oldPods counts the unfinished pods of all sets but one.
func (c *Controller) oldPods(sets []*appsv1.ReplicaSet, not *appsv1.ReplicaSet) int {
	n := 0
	view := api.Pods.View(c.client)
	for _, rs := range without(sets, not) {
		for _, p := range view.ByIndex(api.ByController, string(rs.UID)) {
			if !pods.Finished(p) {
				n++
			}
		}
	}
	return n
}

func (c *Controller) carryOut(ctx context.Context, w world, p Plan) error {
	d := w.d
	if p.Again > 0 {
		c.queue.AddAfter(owner.KeyOf(d), p.Again)
	}
	if p.Create != nil {
		if err := c.create(ctx, w, &p); err != nil {
			return err
		}
	}
	for _, rs := range p.Update {
		if _, err := api.ReplicaSets.Update(ctx, c.client, rs); err != nil {
			return fmt.Errorf("deployment %s/%s: update replica set %s: %w", d.Namespace, d.Name, rs.Name, err)
		}
	}
	if p.Revision != "" {
		if err := c.setRevision(ctx, d, p.Revision); err != nil {
			return err
		}
	}
	for _, s := range p.Scale {
		if err := c.scale(ctx, d, s); err != nil {
			return err
		}
	}
	for _, rs := range p.Delete {
		err := api.ReplicaSets.DeleteThis(ctx, c.client, rs, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("deployment %s/%s: delete replica set %s: %w", d.Namespace, d.Name, rs.Name, err)
		}
	}
	return c.writeStatus(ctx, d, p.Status)
}

// create makes the new set and notes in p's status how that went.
func (c *Controller) create(ctx context.Context, w world, p *Plan) error {
	d, rs := w.d, p.Create
	made, err := api.ReplicaSets.Create(ctx, c.client, rs)
	switch {
	case apierrors.IsAlreadyExists(err):
		return c.collide(ctx, d, rs)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil
	case err != nil:
		message := fmt.Sprintf("Failed to create new replica set %q: %v", rs.Name, err)
		c.events.Event(d, corev1.EventTypeWarning, newSetFailed, "%s", message)
		if hasDeadline(d) {
			p.Status.Conditions = set(p.Status.Conditions, appsv1.DeploymentProgressing, corev1.ConditionFalse, newSetFailed, message, w.now)
		}
		if werr := c.writeStatus(ctx, d, p.Status); werr != nil {
			return werr
		}
		return fmt.Errorf("deployment %s/%s: create replica set %s: %w", d.Namespace, d.Name, rs.Name, err)
	}
	if n := *made.Spec.Replicas; n > 0 {
		c.events.Event(d, corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled up replica set %s from 0 to %d", made.Name, n)
	}
	if hasDeadline(d) {
		p.Status.Conditions = set(p.Status.Conditions, appsv1.DeploymentProgressing, corev1.ConditionTrue, newSetCreated,
			fmt.Sprintf("Created new replica set %q", made.Name), w.now)
	}
	return nil
}

// collide deals with a set of the new one's name: if it is not ours, the next hash will differ.
func (c *Controller) collide(ctx context.Context, d *appsv1.Deployment, rs *appsv1.ReplicaSet) error {
	other, err := api.ReplicaSets.Get(ctx, c.client, rs.Namespace, rs.Name)
	if err != nil {
		return err
	}
	if ref := metav1.GetControllerOf(other); ref != nil && ref.UID == d.UID && sameTemplate(&other.Spec.Template, &d.Spec.Template) {
		return fmt.Errorf("deployment %s/%s: replica set %s has just been made: %w", d.Namespace, d.Name, rs.Name, errTryAgain)
	}
	st := *d.Status.DeepCopy()
	st.CollisionCount = history.Collided(st.CollisionCount)
	if err := c.writeStatus(ctx, d, st); err != nil {
		return err
	}
	return fmt.Errorf("deployment %s/%s: replica set %s exists and is another's: %w", d.Namespace, d.Name, rs.Name, errTryAgain)
}

var errTryAgain = fmt.Errorf("trying again")

func (c *Controller) scale(ctx context.Context, d *appsv1.Deployment, s Scale) error {
	rs := s.Set.DeepCopy()
	from := *rs.Spec.Replicas
	rs.Spec.Replicas = &s.Size
	setSizeAnnotations(d, rs)
	if _, err := api.ReplicaSets.Update(ctx, c.client, rs); err != nil {
		return fmt.Errorf("deployment %s/%s: scale replica set %s: %w", d.Namespace, d.Name, rs.Name, err)
	}
	if from != s.Size {
		direction := "up"
		if s.Size < from {
			direction = "down"
		}
		c.events.Event(d, corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled %s replica set %s from %d to %d", direction, rs.Name, from, s.Size)
	}
	return nil
}

func (c *Controller) setRevision(ctx context.Context, d *appsv1.Deployment, rev string) error {
	_, err := api.Deployments.Mutate(ctx, c.client, d.Namespace, d.Name, "", func(d *appsv1.Deployment) (bool, error) {
		if d.Annotations == nil {
			d.Annotations = map[string]string{}
		}
		d.Annotations[revisionAnnotation] = rev
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("deployment %s/%s: set revision: %w", d.Namespace, d.Name, err)
	}
	return nil
}

func (c *Controller) writeStatus(ctx context.Context, d *appsv1.Deployment, st appsv1.DeploymentStatus) error {
	return api.OverwriteStatus(ctx, c.client, api.Deployments, d, func(d *appsv1.Deployment) *appsv1.DeploymentStatus { return &d.Status }, st)
}
