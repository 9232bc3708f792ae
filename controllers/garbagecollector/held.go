package garbagecollector

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"clipper/api"
)

// Held is the way to the objects that extension API servers hold: to their metadata, which is all that ownership is
// about, and the list of resources that can be listed, watched and deleted.
type Held interface {
	metadata.Interface
	Collectable() []api.Resource
}

// apiServices say which extension servers there are.
var apiServices = api.Resource{Group: "apiregistration.k8s.io", Version: "v1", Name: "apiservices", Kind: "APIService"}

// isExtension reports whether an APIService stands for an extension server, not for a group of this one.
func isExtension(o api.Object) bool {
	s, ok := o.(*apiregistrationv1.APIService)
	return ok && s.Spec.Service != nil
}

// lookAgain is how often, while there are extension servers, their resources are compared with those that are
// followed. Upstream's figure.
const lookAgain = 30 * time.Second

// A heldView follows the objects of one resource of an extension server. Unlike the server's own views it may be
// behind, or know nothing yet: what it does not show may exist nevertheless.
type heldView struct {
	informer cache.SharedIndexInformer
	stop     context.CancelFunc
}

func (v *heldView) get(namespace, name string) (api.Object, bool) {
	key := cache.ObjectName{Namespace: namespace, Name: name}.String()
	o, ok, err := v.informer.GetStore().GetByKey(key)
	if err != nil || !ok {
		return nil, false
	}
	return o.(*metav1.PartialObjectMetadata), true
}

// heldView returns the view of an extension server's resource, or nil: it is another resource.
func (c *Controller) heldView(r api.Resource) *heldView {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.views[r]
}

// followHeld starts to follow the extension servers' resources that are new, and forgets those that are gone.
func (c *Controller) followHeld(resources []api.Resource) error {
	wanted := map[api.Resource]bool{}
	var errs []error
	for _, r := range resources {
		if wanted[r] = true; c.heldView(r) == nil {
			errs = append(errs, c.follow(r))
		}
	}
	c.mu.Lock()
	gone := map[api.Resource]*heldView{}
	for r, v := range c.views {
		if !wanted[r] {
			gone[r] = v
			delete(c.views, r)
		}
	}
	c.mu.Unlock()
	for r, v := range gone {
		v.stop()
		for _, o := range v.informer.GetStore().List() {
			m := o.(*metav1.PartialObjectMetadata)
			c.graph.update(identify(r, m), m, nil)
		}
	}
	return errors.Join(errs...)
}

func (c *Controller) follow(r api.Resource) error {
	v := &heldView{informer: metadatainformer.NewFilteredMetadataInformer(c.held, r.GVR(), metav1.NamespaceAll, 0, cache.Indexers{}, nil).Informer()}
	if err := v.informer.SetTransform(withoutManagers); err != nil {
		return err
	}
	if _, err := v.informer.AddEventHandler(handler{c, r}); err != nil {
		return err
	}
	inner, stop := context.WithCancel(context.Background())
	v.stop = stop
	c.mu.Lock()
	c.views[r] = v
	c.mu.Unlock()
	c.spawn(func(ctx context.Context) error {
		defer context.AfterFunc(ctx, stop)()
		v.informer.RunWithContext(inner)
		return nil
	})
	return nil
}

// withoutManagers drops what ownership has nothing to do with.
func withoutManagers(o any) (any, error) {
	if m, ok := o.(*metav1.PartialObjectMetadata); ok {
		m.ManagedFields = nil
	}
	return o, nil
}

// A handler puts what an informer says into the collector's words.
type handler struct {
	c *Controller
	r api.Resource
}

// OnAdd implements cache.ResourceEventHandler.
func (h handler) OnAdd(o any, _ bool) {
	h.c.changed(h.r, api.Event{Type: api.Added, New: o.(*metav1.PartialObjectMetadata)})
}

// OnUpdate implements cache.ResourceEventHandler.
func (h handler) OnUpdate(old, o any) {
	h.c.changed(h.r, api.Event{Type: api.Modified, Old: old.(*metav1.PartialObjectMetadata), New: o.(*metav1.PartialObjectMetadata)})
}

// OnDelete implements cache.ResourceEventHandler.
func (h handler) OnDelete(o any) {
	if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = last.Obj
	}
	h.c.changed(h.r, api.Event{Type: api.Deleted, Old: o.(*metav1.PartialObjectMetadata)})
}

// get looks an object up in the view of its resource.
func (c *Controller) get(r api.Resource, namespace, name string) (api.Object, bool) {
	if v := c.heldView(r); v != nil {
		return v.get(namespace, name)
	}
	return c.client.View(r).Get(namespace, name)
}

func (c *Controller) delete(ctx context.Context, id identity, o metav1.DeleteOptions) error {
	if c.heldView(id.Resource) != nil {
		return c.held.Resource(id.Resource.GVR()).Namespace(id.Namespace).Delete(ctx, id.Name, o)
	}
	return c.client.Delete(ctx, id.Resource, id.Namespace, id.Name, o)
}

func (c *Controller) mergePatch(ctx context.Context, id identity, data []byte) (api.Object, error) {
	if c.heldView(id.Resource) != nil {
		return c.held.Resource(id.Resource.GVR()).Namespace(id.Namespace).Patch(ctx, id.Name, types.MergePatchType, data, metav1.PatchOptions{})
	}
	return c.client.Patch(ctx, id.Resource, id.Namespace, id.Name, "", types.MergePatchType, data, metav1.PatchOptions{})
}

// confirm asks extension servers about o's owners that their views do not show: nobody else can tell whether they
// are gone. While one does not answer, nothing that it may own is touched.
func (c *Controller) confirm(ctx context.Context, o api.Object) (map[types.UID]ownerState, error) {
	out := map[types.UID]ownerState{}
	for _, ref := range o.GetOwnerReferences() {
		r, known := c.kindOf(ref)
		if !known || c.heldView(r) == nil || c.state(ref, o.GetNamespace()) != absent {
			continue
		}
		namespace := ""
		if r.Namespaced {
			namespace = o.GetNamespace()
		}
		owner, err := c.held.Resource(r.GVR()).Namespace(namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			out[ref.UID] = absent
		case err != nil:
			return nil, err
		case owner.UID != ref.UID:
			out[ref.UID] = absent
		case waitsForDependents(owner):
			out[ref.UID] = waiting
		default:
			out[ref.UID] = solid
		}
	}
	return out, nil
}
