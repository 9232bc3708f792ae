// Package statefulset keeps sets of pods that have names and storage of their own. plan decides, one step
// at a time for ordered sets; Controller acts.
package statefulset

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
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

// hashLabel is where a record of a StatefulSet's template bears its hash.
const hashLabel = "controller.kubernetes.io/hash"

// A Controller keeps StatefulSets.
type Controller struct {
	client api.Client
	events pods.Eventer
	queue  *queue.Queue[owner.Key]
	now    func() time.Time
}

// New returns a controller.
func New(c api.Client, events pods.Eventer) *Controller {
	s := &Controller{client: c, events: events, now: time.Now}
	s.queue = queue.New("statefulset", workers, s.sync)
	return s
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	adopters := owner.EnqueueAdopters(api.StatefulSets.View(c.client), selector, c.queue.Add)
	return c.queue.Run(ctx,
		queue.Source{View: c.client.View(api.StatefulSets.Resource), Handle: owner.EnqueueObject(c.queue.Add)},
		queue.Source{View: c.client.View(api.Pods.Resource), Handle: owner.EnqueueController(api.StatefulSets.Resource, c.queue.Add, adopters)},
		queue.Source{View: c.client.View(api.ControllerRevisions.Resource), Handle: owner.EnqueueController(api.StatefulSets.Resource, c.queue.Add, nil)},
	)
}

func selector(set *appsv1.StatefulSet) (labels.Selector, error) {
	return metav1.LabelSelectorAsSelector(set.Spec.Selector)
}

func (c *Controller) sync(ctx context.Context, k owner.Key) error {
	set, ok := api.StatefulSets.View(c.client).Get(k.Namespace, k.Name)
	if !ok {
		return nil
	}
	mine, err := c.pods(ctx, set)
	if err != nil {
		return err
	}
	current, update, err := c.revisions(ctx, set, mine)
	if err != nil || update == nil {
		return err
	}
	w := world{set: set, pods: mine, current: current.Name, update: update.Name, now: c.now()}
	return c.carryOut(ctx, w, plan(w), current, update)
}

// pods claims the set's pods. Those of other names stay out, whatever their labels.
func (c *Controller) pods(ctx context.Context, set *appsv1.StatefulSet) ([]*corev1.Pod, error) {
	sel, err := selector(set)
	if err != nil {
		return nil, fmt.Errorf("statefulset %s/%s: selector: %w", set.Namespace, set.Name, err)
	}
	candidates := pods.Filter(owner.Candidates(api.Pods.View(c.client), set), func(p *corev1.Pod) bool { return ordinal(set, p) >= 0 })
	return owner.Claim(ctx, c.client, api.Pods.Resource, set, owner.Ref(set, api.StatefulSets.Resource), sel, candidates)
}

// revisions returns the record that the set's status calls current, and that of the newest template.
func (c *Controller) revisions(ctx context.Context, set *appsv1.StatefulSet, mine []*corev1.Pod) (current, update *appsv1.ControllerRevision, err error) {
	p := history.Parent{
		Object: set, Resource: api.StatefulSets.Resource, Template: &set.Spec.Template, Selector: set.Spec.Selector, Label: hashLabel,
		Hash: func(data []byte) string { return history.DataHash(data, set.Status.CollisionCount) },
	}
	all, err := history.List(ctx, c.client, p)
	if err != nil {
		return nil, nil, err
	}
	update, all, err = history.Current(ctx, c.client, p, all)
	switch {
	case errors.Is(err, history.ErrCollision):
		st := *set.Status.DeepCopy()
		st.CollisionCount = history.Collided(st.CollisionCount)
		return nil, nil, c.writeStatus(ctx, set, st)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil, nil, nil
	case err != nil:
		return nil, nil, err
	}
	current = update
	used := map[string]bool{update.Name: true, set.Status.CurrentRevision: true}
	for _, r := range all {
		if r.Name == set.Status.CurrentRevision {
			current = r
		}
	}
	for _, pod := range mine {
		used[pod.Labels[appsv1.StatefulSetRevisionLabel]] = true
	}
	if set.Spec.RevisionHistoryLimit != nil {
		err = history.Truncate(ctx, c.client, all, *set.Spec.RevisionHistoryLimit, func(r *appsv1.ControllerRevision) bool { return used[r.Name] })
	}
	return current, update, err
}

func (c *Controller) carryOut(ctx context.Context, w world, p Plan, current, update *appsv1.ControllerRevision) error {
	set := w.set
	for _, e := range p.Events {
		c.events.Event(set, e.kind, e.reason, "%s", e.message)
	}
	var errs []error
	errs = append(errs, c.ownClaims(ctx, w, p.Condemned))
	for _, pod := range p.Relabel {
		_, err := api.Pods.Update(ctx, c.client, pod)
		errs = append(errs, err)
	}
	for _, pod := range w.pods { // a claim that was deleted while its pod waits for it
		if pod.Status.Phase == corev1.PodPending && pod.DeletionTimestamp == nil {
			errs = append(errs, c.claims(ctx, set, pod.Name, ordinal(set, pod)))
		}
	}
	for _, m := range p.Create {
		r := current
		if m.update {
			r = update
		}
		errs = append(errs, c.create(ctx, set, m.ordinal, r))
	}
	for _, pod := range p.Delete {
		errs = append(errs, c.delete(ctx, set, pod))
	}
	if p.Again > 0 {
		c.queue.AddAfter(owner.KeyOf(set), p.Again)
	}
	errs = append(errs, c.writeStatus(ctx, set, p.Status))
	return errors.Join(errs...)
}

// create makes member n with its claims.
func (c *Controller) create(ctx context.Context, set *appsv1.StatefulSet, n int, r *appsv1.ControllerRevision) error {
	t, err := history.Template(r)
	if err != nil {
		return err
	}
	p := newPod(set, t, r.Name, n)
	if err := c.claims(ctx, set, p.Name, n); err != nil {
		return err
	}
	_, err = api.Pods.Create(ctx, c.client, p)
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil
	case err != nil:
		c.events.Event(set, corev1.EventTypeWarning, "FailedCreate", "create Pod %s in StatefulSet %s failed error: %v", p.Name, set.Name, err)
		return fmt.Errorf("statefulset %s/%s: create pod %s: %w", set.Namespace, set.Name, p.Name, err)
	}
	c.events.Event(set, corev1.EventTypeNormal, "SuccessfulCreate", "create Pod %s in StatefulSet %s successful", p.Name, set.Name)
	return nil
}

// claims makes the claims of member n that are not there.
func (c *Controller) claims(ctx context.Context, set *appsv1.StatefulSet, pod string, n int) error {
	for _, claim := range claims(set, n) {
		if err := c.claim(ctx, set, pod, claim); err != nil {
			return err
		}
	}
	return nil
}

func (c *Controller) claim(ctx context.Context, set *appsv1.StatefulSet, pod string, claim *corev1.PersistentVolumeClaim) error {
	have, ok := api.PersistentVolumeClaims.View(c.client).Get(claim.Namespace, claim.Name)
	if ok && have.DeletionTimestamp != nil {
		return fmt.Errorf("statefulset %s/%s: pvc %s is being deleted", set.Namespace, set.Name, claim.Name)
	}
	if ok {
		return nil
	}
	if _, err := api.PersistentVolumeClaims.Create(ctx, c.client, claim); err != nil {
		c.events.Event(set, corev1.EventTypeWarning, "FailedCreate", "create Claim %s for Pod %s in StatefulSet %s failed error: %v", claim.Name, pod, set.Name, err)
		return fmt.Errorf("statefulset %s/%s: create claim %s: %w", set.Namespace, set.Name, claim.Name, err)
	}
	c.events.Event(set, corev1.EventTypeNormal, "SuccessfulCreate", "create Claim %s Pod %s in StatefulSet %s success", claim.Name, pod, set.Name)
	return nil
}

// ownClaims lets claims go with the set or with condemned members, as the retention policy says.
func (c *Controller) ownClaims(ctx context.Context, w world, condemned []*corev1.Pod) error {
	set := w.set
	if set.Spec.PersistentVolumeClaimRetentionPolicy == nil || len(set.Spec.VolumeClaimTemplates) == 0 || set.DeletionTimestamp != nil {
		return nil
	}
	doomed := map[string]*corev1.Pod{}
	for _, p := range condemned {
		doomed[p.Name] = p
	}
	var errs []error
	for _, p := range w.pods {
		for i := range set.Spec.VolumeClaimTemplates {
			name := claimName(set, &set.Spec.VolumeClaimTemplates[i], ordinal(set, p))
			have, ok := api.PersistentVolumeClaims.View(c.client).Get(set.Namespace, name)
			if !ok {
				continue
			}
			want := claimOwners(set, have.OwnerReferences, p.Name, doomed[p.Name])
			if apiequality.Semantic.DeepEqual(want, have.OwnerReferences) {
				continue
			}
			next := have.DeepCopy()
			next.OwnerReferences = want
			_, err := api.PersistentVolumeClaims.Update(ctx, c.client, next)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (c *Controller) delete(ctx context.Context, set *appsv1.StatefulSet, p *corev1.Pod) error {
	err := api.Pods.DeleteThis(ctx, c.client, p, metav1.DeleteOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		c.events.Event(set, corev1.EventTypeWarning, "FailedDelete", "delete Pod %s in StatefulSet %s failed error: %v", p.Name, set.Name, err)
		return fmt.Errorf("statefulset %s/%s: delete pod %s: %w", set.Namespace, set.Name, p.Name, err)
	}
	c.events.Event(set, corev1.EventTypeNormal, "SuccessfulDelete", "delete Pod %s in StatefulSet %s successful", p.Name, set.Name)
	return nil
}

func (c *Controller) writeStatus(ctx context.Context, set *appsv1.StatefulSet, st appsv1.StatefulSetStatus) error {
	return api.OverwriteStatus(ctx, c.client, api.StatefulSets, set, func(set *appsv1.StatefulSet) *appsv1.StatefulSetStatus { return &set.Status }, st)
}
