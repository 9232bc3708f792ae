// Package namespace empties namespaces that are being deleted and then lets them go.
package namespace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/controllers/queue"
)

const (
	workers  = 4
	parallel = 32 // deletions under way at once in one namespace: they share the log's group commits
	// recheck is when a namespace whose content waits for finalizers is looked at again. The end of its pods
	// is noticed at once.
	recheck = time.Second
)

// Resources lists every stored resource that is served now; the set grows with custom resources.
type Resources func() []api.Resource

// A Controller is the namespace controller.
type Controller struct {
	client    api.Client
	resources Resources
	now       func() time.Time
	queue     *queue.Queue[string]
}

// New returns the controller; Run starts it.
func New(c api.Client, resources Resources) *Controller {
	k := &Controller{client: c, resources: resources, now: time.Now}
	k.queue = queue.New("namespaces", workers, k.sync)
	return k
}

// Run works until ctx ends.
func (k *Controller) Run(ctx context.Context) error {
	return k.queue.Run(ctx,
		queue.Source{View: api.Namespaces.View(k.client).View, Handle: func(e api.Event) {
			if e.Type != api.Deleted && e.New.GetDeletionTimestamp() != nil {
				k.queue.Add(e.New.GetName())
			}
		}},
		queue.Source{View: api.Pods.View(k.client).View, Handle: func(e api.Event) {
			if e.Type == api.Deleted {
				k.queue.Add(e.Old.GetNamespace()) // costs nothing unless the namespace is being deleted
			}
		}},
	)
}

func (k *Controller) sync(ctx context.Context, name string) error {
	ns, ok := api.Namespaces.View(k.client).Get("", name)
	if !ok || ns.DeletionTimestamp == nil || !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
		return nil
	}
	failures := k.empty(ctx, name)
	left := k.content(name)
	if err := k.report(ctx, ns, conditions(left, failures, metav1.NewTime(k.now()).Rfc3339Copy())); err != nil {
		return fmt.Errorf("namespace %s: write conditions: %w", name, err)
	}
	if len(failures) > 0 {
		return fmt.Errorf("namespace %s: delete content: %w", name, errors.Join(failures...))
	}
	if len(left) > 0 {
		k.queue.AddAfter(name, recheck)
		return nil
	}
	return k.finalize(ctx, name)
}

// empty deletes what can go now; content that becomes ready to go because of that goes in the same pass.
func (k *Controller) empty(ctx context.Context, name string) []error {
	for {
		batch := next(k.content(name))
		if len(batch) == 0 {
			return nil
		}
		started, failures := k.deleteAll(ctx, batch)
		if len(failures) > 0 || started == 0 {
			return failures
		}
	}
}

// deleteAll deletes every object that is not on its way already; started counts them.
func (k *Controller) deleteAll(ctx context.Context, batch []content) (started int, failures []error) {
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(parallel)
	background := metav1.DeletePropagationBackground
	for _, c := range batch {
		for _, o := range c.objects {
			if o.GetDeletionTimestamp() != nil {
				continue
			}
			started++
			uid := o.GetUID()
			g.Go(func() error {
				err := k.client.Delete(ctx, c.resource, o.GetNamespace(), o.GetName(), metav1.DeleteOptions{
					PropagationPolicy: &background, Preconditions: &metav1.Preconditions{UID: &uid}})
				if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
					return nil
				}
				mu.Lock()
				defer mu.Unlock()
				failures = append(failures, fmt.Errorf("%s %s: %w", c.resource.Name, o.GetName(), err))
				return nil
			})
		}
	}
	_ = g.Wait() // failures are collected, not returned: one must not hide the others
	return started, failures
}

// content lists what a namespace holds.
func (k *Controller) content(name string) (all []content) {
	for _, r := range k.resources() {
		if !r.Namespaced {
			continue
		}
		if objects := k.client.View(r).List(name); len(objects) > 0 {
			all = append(all, content{r, objects})
		}
	}
	return all
}

func (k *Controller) report(ctx context.Context, ns *corev1.Namespace, next []corev1.NamespaceCondition) error {
	_, err := api.Namespaces.Mutate(ctx, k.client, "", ns.Name, "status", func(ns *corev1.Namespace) (bool, error) {
		merged, changed := merge(ns.Status.Conditions, next)
		changed = changed || ns.Status.Phase != corev1.NamespaceTerminating
		ns.Status.Conditions, ns.Status.Phase = merged, corev1.NamespaceTerminating
		return changed, nil
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// finalize takes our finalizer off; with the last one the namespace is gone.
func (k *Controller) finalize(ctx context.Context, name string) error {
	_, err := api.Namespaces.Mutate(ctx, k.client, "", name, "finalize", func(ns *corev1.Namespace) (bool, error) {
		before := len(ns.Spec.Finalizers)
		ns.Spec.Finalizers = slices.DeleteFunc(ns.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
		return len(ns.Spec.Finalizers) < before, nil
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("namespace %s: finalize: %w", name, err)
	}
	return nil
}
