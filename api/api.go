// Package api is how every part of Clipper reads and writes the cluster's objects: controllers, the
// scheduler, DNS, the service proxy and the node agent alike. It holds no object and makes no decision.
//
// Two things implement it. In the server process package apiserver/inprocess answers from the store
// itself: no copy, no encoding, the same pipeline for writes as a request from the network. On a node
// without a server package api/remote speaks HTTPS and keeps what it watches in memory. A part cannot
// tell which of the two it was given.
//
// Objects that come out of this package are shared and read-only. To change one: DeepCopy, change the
// copy, write it back. Errors are upstream's API errors (k8s.io/apimachinery/pkg/api/errors).
package api

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// An Object is any API object with metadata, always a pointer to one of the types of k8s.io/api or,
// for custom resources, an *unstructured.Unstructured.
type Object interface {
	metav1.Object
	runtime.Object
}

// A Resource names a kind of object as a client addresses it. It is comparable.
type Resource struct {
	Group, Version string // "" is the core group
	Name           string // plural, as in the path: "pods"
	Kind           string // "Pod"
	Namespaced     bool
}

// GVR returns r's group, version and plural name.
func (r Resource) GVR() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: r.Group, Version: r.Version, Resource: r.Name}
}

// GVK returns r's group, version and kind.
func (r Resource) GVK() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind}
}

// GroupResource returns r's group and plural name, the form API errors use.
func (r Resource) GroupResource() schema.GroupResource {
	return schema.GroupResource{Group: r.Group, Resource: r.Name}
}

// A Client reads and writes objects. Subresource is "" for the object itself, or "status", "scale", ….
type Client interface {
	// Get reads the latest committed state from the server, never from a view.
	Get(ctx context.Context, r Resource, namespace, name string) (Object, error)
	// List reads all objects of r in a namespace ("" for every one) and the revision they were read at.
	List(ctx context.Context, r Resource, namespace string, o metav1.ListOptions) (objects []Object, revision string, err error)
	Create(ctx context.Context, r Resource, obj Object, o metav1.CreateOptions) (Object, error)
	// Update replaces an object. A resourceVersion set in obj is a precondition; a stale one is a Conflict.
	Update(ctx context.Context, r Resource, subresource string, obj Object, o metav1.UpdateOptions) (Object, error)
	Patch(ctx context.Context, r Resource, namespace, name, subresource string, pt types.PatchType, data []byte, o metav1.PatchOptions) (Object, error)
	Delete(ctx context.Context, r Resource, namespace, name string, o metav1.DeleteOptions) error
	// CreateSubresource posts body to a subresource that takes another kind: binding, eviction, token.
	CreateSubresource(ctx context.Context, r Resource, namespace, name, subresource string, body Object) (Object, error)
	// View returns the live view of r. Views are shared and cheap to ask for again. In a remote client the
	// view covers what the client was built to see (a node agent: its own pods and what they refer to).
	View(r Resource) View
}

// A View is a continuously current picture of one resource.
type View interface {
	// WaitSynced returns when the view holds a complete state, or with ctx's error. In the server process
	// it returns at once.
	WaitSynced(ctx context.Context) error
	Get(namespace, name string) (Object, bool)
	// List returns the objects of a namespace, or of all with "", ordered by namespace and name.
	List(namespace string) []Object
	// ByIndex returns the objects that ix files under value. ix must be one of Indexes for the resource.
	ByIndex(ix Index, value string) []Object
	// Watch calls fn with Added for every object there is, then Synced once, then for every change in
	// revision order, from this goroutine, until ctx ends; it returns ctx's error. A consumer that is too
	// slow is resynchronised: it sees the net difference, never a gap. When fn runs, Get and List already
	// show the change (or a later one).
	Watch(ctx context.Context, fn func(Event)) error
}

// A Partial view says what it cannot show. Views in the server process are Partial.
type Partial interface {
	// Complete returns an error if there is an object in a namespace ("": anywhere) whose stored value cannot be
	// read at the moment. That such an object is not in the view does not mean that it is gone.
	Complete(namespace string) error
	// Hides is whether there was such an object a moment ago: unlike Complete it does not try to read it.
	Hides(namespace string) bool
}

// A Versioned view also says which state it shows: a number that grows with every change of the resource.
// What was computed from a view at one version still holds while the version is the same. Views in the
// server process are Versioned.
type Versioned interface {
	Version() int64
}

// An EventType says what happened to an object.
type EventType int

// The kinds of Event.
const (
	Added EventType = iota + 1
	Modified
	Deleted
	Synced // the initial state has been delivered; carries no object
)

// An Event is one change. Old is nil for Added, New is nil for Deleted.
type Event struct {
	Type     EventType
	Old, New Object
}

// Object returns the newest state the event knows: New, or Old for Deleted.
func (e Event) Object() Object {
	if e.New != nil {
		return e.New
	}
	return e.Old
}
