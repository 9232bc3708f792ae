// Package namespace empties namespaces that are being deleted and then lets them go.
package namespace

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"

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

// Elsewhere is what namespaces hold on extension API servers.
type Elsewhere interface {
	metadata.Interface
	// Namespaced lists the resources there that can be listed and deleted. The error says which servers could not
	// be asked; the list is good nevertheless.
	Namespaced() ([]schema.GroupVersionResource, error)
}

// A Controller is the namespace controller.
type Controller struct {
	client    api.Client
	resources Resources
	elsewhere Elsewhere
	now       func() time.Time
	queue     *queue.Queue[string]
}

// New returns the controller; Run starts it.
func New(c api.Client, resources Resources, elsewhere Elsewhere) *Controller {
	k := &Controller{client: c, resources: resources, elsewhere: elsewhere, now: time.Now}
	k.queue = queue.New("namespace", workers, k.sync)
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
	left, trouble := k.empty(ctx, name)
	if err := k.report(ctx, ns, conditions(left, trouble, metav1.NewTime(k.now()).Rfc3339Copy())); err != nil {
		return fmt.Errorf("namespace %s: write conditions: %w", name, err)
	}
	if err := trouble.err(); err != nil {
		return fmt.Errorf("namespace %s: delete content: %w", name, err)
	}
	if len(left) > 0 {
		k.queue.AddAfter(name, recheck)
		return nil
	}
	return k.finalize(ctx, name)
}

// empty deletes what can go now; content that becomes ready to go because of that goes in the same pass. It returns
// what is left then.
func (k *Controller) empty(ctx context.Context, name string) (left []content, t trouble) {
	for {
		left, t = k.content(ctx, name)
		started, failures := k.deleteAll(ctx, next(left))
		t.content = append(t.content, failures...)
		if len(failures) > 0 || started == 0 {
			return left, t
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
				err := k.delete(ctx, c, o, metav1.DeleteOptions{PropagationPolicy: &background, Preconditions: &metav1.Preconditions{UID: &uid}})
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

func (k *Controller) delete(ctx context.Context, c content, o api.Object, options metav1.DeleteOptions) error {
	if c.elsewhere {
		return k.elsewhere.Resource(c.resource.GVR()).Namespace(o.GetNamespace()).Delete(ctx, o.GetName(), options)
	}
	return k.client.Delete(ctx, c.resource, o.GetNamespace(), o.GetName(), options)
}

// content lists what a namespace holds.
func (k *Controller) content(ctx context.Context, name string) (all []content, t trouble) {
	for _, r := range k.resources() {
		if !r.Namespaced {
			continue
		}
		if p, ok := k.client.View(r).(api.Partial); ok {
			if err := p.Complete(name); err != nil {
				t.content = append(t.content, fmt.Errorf("list %s: %w", r.GroupResource(), err))
			}
		}
		if objects := k.client.View(r).List(name); len(objects) > 0 {
			all = append(all, content{resource: r, objects: objects})
		}
	}
	resources, err := k.elsewhere.Namespaced()
	t.discovery = err
	for _, r := range resources {
		list, err := k.elsewhere.Resource(r).Namespace(name).List(ctx, metav1.ListOptions{})
		if err != nil {
			t.content = append(t.content, fmt.Errorf("list %s: %w", r.GroupResource(), err))
			continue
		}
		c := content{resource: api.Resource{Group: r.Group, Version: r.Version, Name: r.Resource, Namespaced: true}, elsewhere: true}
		for i := range list.Items {
			c.objects = append(c.objects, &list.Items[i])
		}
		if len(c.objects) > 0 {
			all = append(all, c)
		}
	}
	return all, t
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
