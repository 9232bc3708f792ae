// Package garbagecollector deletes what has lost its owners, and carries out the ways to delete an owner:
// in the background (the owner first), in the foreground (its dependents first) and orphaning (its
// dependents stay). It watches every resource that is served, by extension servers too. decide is pure; Controller acts.
package garbagecollector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
	"clipper/controllers/queue"
)

const workers = 8

// A Client can also say which resources there are.
type Client interface {
	api.Client
	Resources() []api.Resource
}

// definitions are watched for new resources.
var definitions = api.Resource{Group: "apiextensions.k8s.io", Version: "v1", Name: "customresourcedefinitions", Kind: "CustomResourceDefinition"}

// A Controller collects garbage.
type Controller struct {
	client Client
	held   Held // nil: there are no extension servers
	graph  *graph
	queue  *queue.Queue[identity]
	kinds  atomic.Pointer[map[schema.GroupKind]api.Resource]
	spawn  func(func(context.Context) error) // starts a watch while the queue runs

	mu       sync.Mutex
	watching map[api.Resource]bool
	views    map[api.Resource]*heldView
}

// New returns a controller. held may be nil.
func New(c Client, held Held) *Controller {
	g := &Controller{client: c, held: held, graph: newGraph(), watching: map[api.Resource]bool{}, views: map[api.Resource]*heldView{}}
	g.queue = queue.New("garbage_collector_attempt_to_delete", workers, g.sync)
	g.refresh()
	return g
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	c.spawn = func(fn func(context.Context) error) { group.Go(func() error { return fn(ctx) }) }
	sources := append(c.take(c.refresh()), queue.Source{View: c.client.View(definitions), Handle: func(api.Event) {
		c.queue.AddAfter(newKinds, settleTime)
	}})
	if c.held != nil {
		c.queue.Add(newKinds)
		sources = append(sources, queue.Source{View: c.client.View(apiServices), Handle: func(e api.Event) {
			if isExtension(e.Object()) {
				c.queue.AddAfter(newKinds, settleTime)
			}
		}})
	}
	group.Go(func() error { return c.queue.Run(ctx, sources...) })
	return group.Wait()
}

// newKinds is the key under which the queue looks for resources that are served from now on.
var newKinds = identity{Resource: definitions}

// settleTime is how long after a definition's change its resource is looked for: the server takes a moment.
const settleTime = time.Second

func watch(ctx context.Context, s queue.Source) error {
	err := s.View.Watch(ctx, func(e api.Event) {
		if e.Type != api.Synced {
			s.Handle(e)
		}
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// refresh reads which resources this server serves from its own store, and which kinds there are altogether. Events
// are left out: nobody owns them and they are many.
func (c *Controller) refresh() []api.Resource {
	all := slices.DeleteFunc(slices.Clone(c.client.Resources()), func(r api.Resource) bool { return r.Name == "events" })
	kinds := map[schema.GroupKind]api.Resource{}
	for _, r := range all {
		kinds[schema.GroupKind{Group: r.Group, Kind: r.Kind}] = r
	}
	c.mu.Lock()
	for r := range c.views {
		kinds[schema.GroupKind{Group: r.Group, Kind: r.Kind}] = r
	}
	c.mu.Unlock()
	c.kinds.Store(&kinds)
	return all
}

// take returns the sources of those resources that are not watched yet.
func (c *Controller) take(all []api.Resource) []queue.Source {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []queue.Source
	for _, r := range all {
		if !c.watching[r] {
			c.watching[r] = true
			out = append(out, queue.Source{View: c.client.View(r), Handle: func(e api.Event) { c.changed(r, e) }})
		}
	}
	return out
}

// changed follows one event in the graph and asks for work on those it may concern.
func (c *Controller) changed(r api.Resource, e api.Event) {
	o := e.Object()
	id := identify(r, o)
	c.graph.update(id, e.Old, e.New)
	if e.Old != nil {
		c.ownersMayGoOn(e)
	}
	if e.New == nil {
		for _, d := range c.graph.of(id.UID) {
			c.queue.Add(d)
		}
		return
	}
	if waitsForDependents(o) && (e.Old == nil || !waitsForDependents(e.Old)) {
		for _, d := range c.graph.of(id.UID) {
			c.queue.Add(d)
		}
	}
	if waitsForDependents(o) || orphansDependents(o) || c.lostOwner(o) {
		c.queue.Add(id)
	}
}

// ownersMayGoOn wakes owners that wait for a dependent which is gone, or has let them go.
func (c *Controller) ownersMayGoOn(e api.Event) {
	for _, ref := range e.Old.GetOwnerReferences() {
		if e.New != nil && blocks(e.New, ref.UID) {
			continue
		}
		if id, o := c.owner(ref, e.Old.GetNamespace()); o != nil && waitsForDependents(o) {
			c.queue.Add(id)
		}
	}
}

func (c *Controller) lostOwner(o api.Object) bool {
	return slices.ContainsFunc(o.GetOwnerReferences(), func(ref metav1.OwnerReference) bool {
		return c.state(ref, o.GetNamespace()) != solid
	})
}

// owner looks a reference up; the object is nil if it is gone, or if its kind is not known.
func (c *Controller) owner(ref metav1.OwnerReference, namespace string) (identity, api.Object) {
	r, ok := c.kindOf(ref)
	if !ok {
		return identity{}, nil
	}
	if !r.Namespaced {
		namespace = ""
	}
	o, ok := c.get(r, namespace, ref.Name)
	if !ok || o.GetUID() != ref.UID {
		return identity{}, nil
	}
	return identify(r, o), o
}

func (c *Controller) kindOf(ref metav1.OwnerReference) (api.Resource, bool) {
	group, _, ok := strings.Cut(ref.APIVersion, "/")
	if !ok {
		group = ""
	}
	r, ok := (*c.kinds.Load())[schema.GroupKind{Group: group, Kind: ref.Kind}]
	return r, ok
}

func (c *Controller) state(ref metav1.OwnerReference, namespace string) ownerState {
	r, known := c.kindOf(ref)
	if !known || r.Namespaced && namespace == "" {
		return solid // a kind that is not served, or a reference that cannot be followed: leave it alone
	}
	switch _, o := c.owner(ref, namespace); {
	case o == nil:
		return absent
	case waitsForDependents(o):
		return waiting
	}
	return solid
}

func (c *Controller) sync(ctx context.Context, id identity) error {
	if id == newKinds {
		return c.learn()
	}
	o, ok := c.get(id.Resource, id.Namespace, id.Name)
	if !ok || o.GetUID() != id.UID {
		return nil
	}
	confirmed, err := c.confirm(ctx, o)
	if err != nil {
		return fmt.Errorf("owners of %s %s/%s: %w", id.Resource.Kind, id.Namespace, id.Name, err)
	}
	d := decide(o, func(ref metav1.OwnerReference) ownerState {
		if s, ok := confirmed[ref.UID]; ok {
			return s
		}
		return c.state(ref, id.Namespace)
	}, len(c.graph.of(id.UID)) > 0)
	switch d.Action {
	case dropOwners:
		err = c.setOwners(ctx, id, o, d.Owners)
	case remove:
		if d.Policy == metav1.DeletePropagationForeground {
			o, err = c.breakCircle(ctx, id, o)
		}
		if err == nil {
			err = c.remove(ctx, id, o, d.Policy)
		}
	case orphan:
		err = c.orphanDependents(ctx, id, o)
	case waitForRest:
		err = c.waitForRest(ctx, id, o)
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s %s/%s: %w", id.Resource.Kind, id.Namespace, id.Name, err)
	}
	return nil
}

// learn follows the resources that have come, of this server and of extension servers.
func (c *Controller) learn() error {
	if c.held != nil {
		if slices.ContainsFunc(c.client.View(apiServices).List(metav1.NamespaceAll), isExtension) {
			defer c.queue.AddAfter(newKinds, lookAgain)
		}
		if err := c.followHeld(c.held.Collectable()); err != nil {
			return fmt.Errorf("follow extension servers: %w", err)
		}
	}
	for _, s := range c.take(c.refresh()) {
		c.spawn(func(ctx context.Context) error { return watch(ctx, s) })
	}
	return nil
}

// remove deletes just the state that was looked at: a new owner may have come meanwhile.
func (c *Controller) remove(ctx context.Context, id identity, o api.Object, policy metav1.DeletionPropagation) error {
	rv := o.GetResourceVersion()
	return c.delete(ctx, id, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &id.UID, ResourceVersion: &rv}, PropagationPolicy: &policy,
	})
}

// breakCircle keeps objects that own each other in a circle from waiting for each other: if a dependent of o
// already waits for its own dependents, o no longer blocks its owners.
func (c *Controller) breakCircle(ctx context.Context, id identity, o api.Object) (api.Object, error) {
	if !slices.ContainsFunc(c.graph.of(id.UID), func(d identity) bool {
		dependent, ok := c.get(d.Resource, d.Namespace, d.Name)
		return ok && dependent.GetUID() == d.UID && waitsForDependents(dependent)
	}) {
		return o, nil
	}
	refs := slices.Clone(o.GetOwnerReferences())
	no := false
	for i := range refs {
		refs[i].BlockOwnerDeletion = &no
	}
	return c.patch(ctx, id, o, map[string]any{"ownerReferences": refs})
}

// orphanDependents lets all dependents go and then the owner.
func (c *Controller) orphanDependents(ctx context.Context, id identity, o api.Object) error {
	var errs []error
	for _, d := range c.graph.of(id.UID) {
		dependent, ok := c.get(d.Resource, d.Namespace, d.Name)
		if !ok || dependent.GetUID() != d.UID {
			continue
		}
		if err := c.setOwners(ctx, d, dependent, []types.UID{id.UID}); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("orphan %s %s/%s: %w", d.Resource.Kind, d.Namespace, d.Name, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return c.dropFinalizer(ctx, id, o, metav1.FinalizerOrphanDependents)
}

// waitForRest sees to it that the blocking dependents go, and lets the owner go when none is left.
func (c *Controller) waitForRest(ctx context.Context, id identity, o api.Object) error {
	blocked := false
	for _, d := range c.graph.of(id.UID) {
		dependent, ok := c.get(d.Resource, d.Namespace, d.Name)
		if !ok || dependent.GetUID() != d.UID || !blocks(dependent, id.UID) {
			continue
		}
		blocked = true
		if !waitsForDependents(dependent) {
			c.queue.Add(d)
		}
	}
	if blocked {
		return nil
	}
	return c.dropFinalizer(ctx, id, o, metav1.FinalizerDeleteDependents)
}

// setOwners removes the references to some owners.
func (c *Controller) setOwners(ctx context.Context, id identity, o api.Object, gone []types.UID) error {
	left := slices.DeleteFunc(slices.Clone(o.GetOwnerReferences()), func(r metav1.OwnerReference) bool { return slices.Contains(gone, r.UID) })
	_, err := c.patch(ctx, id, o, map[string]any{"ownerReferences": left})
	return err
}

func (c *Controller) dropFinalizer(ctx context.Context, id identity, o api.Object, name string) error {
	left := slices.DeleteFunc(slices.Clone(o.GetFinalizers()), func(f string) bool { return f == name })
	_, err := c.patch(ctx, id, o, map[string]any{"finalizers": left})
	return err
}

// patch changes metadata of the state that was looked at. A merge patch, for custom resources' sake.
func (c *Controller) patch(ctx context.Context, id identity, o api.Object, metadata map[string]any) (api.Object, error) {
	metadata["resourceVersion"] = o.GetResourceVersion()
	metadata["uid"] = id.UID
	data, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return nil, err
	}
	return c.mergePatch(ctx, id, data)
}
