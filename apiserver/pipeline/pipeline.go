// Package pipeline is the one door through which the cluster's objects are read and written. Requests from
// the network come through it after authentication, authorization and decoding; the server's own parts come
// through it directly (package apiserver/inprocess). A write is defaulted, admitted, validated, committed.
//
// Objects that the pipeline returns are the store's own and read-only. Objects that are handed to it for a
// write are taken over: the caller must not touch them again. Errors are upstream's API errors.
package pipeline

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"

	"clipper/api"
	"clipper/apiserver/served"
	"clipper/catalogue"
	"clipper/store"
)

// A Request says which object, or range of objects, is asked for, and by whom.
type Request struct {
	Resource    *catalogue.Resource
	Subresource string // "" for the object itself
	Namespace   string // "" for cluster-scoped objects and for reads across namespaces
	Name        string // "" for collections, and for a create, which takes it from the object

	User user.Info // who asks; admission and errors name them
	// Manager is the field manager of writes whose options name none: the user agent's first word, or the
	// name of the part that writes ("kube-controller-manager").
	Manager string
	// Warn receives what upstream says in Warning headers. Nil drops it.
	Warn func(text string)
	// Kind is the served version the client speaks; nil is the storage version. It only matters for
	// managedFields, patches and errors: objects themselves are always of the storage version here.
	Kind *served.Kind
	// Admitted says that admission has been asked already, about the request that this write is a part of.
	Admitted bool
	// Unnamed says that the client has not named the object but selected it with others: admission then hears of the
	// object, and of no name.
	Unnamed bool
	// AuthorizeCreate is asked when a PUT or an apply turns out to create. Nil allows it.
	AuthorizeCreate func(ctx context.Context) error
}

// A Store is what the pipeline asks of the cluster's state; *store.Store is it.
type Store interface {
	store.Committer
	Lookup(k store.Key) (*store.Item, bool, error)
	// Complete says whether all that there is of a resource in a namespace can be read.
	Complete(resource, namespace string) error
	Snapshot(resource string) store.Snapshot
	ReadAt(ctx context.Context, resource string, revision int64) (store.Snapshot, error)
	Watch(resource, namespace string, after int64) (*store.Watch, error)
	Listen(resource string, l *store.Listener)
	Unlisten(resource string, l *store.Listener)
	// Stale reports whether an object should be written even if nothing of it changes.
	Stale(it *store.Item) bool
	Latest(ctx context.Context, k store.Key) (*store.Item, bool, error)
	// Of returns the store that keeps a resource, whose revisions are those of its objects.
	Of(resource string) *store.Store
}

// A Result is what a write leaves behind.
type Result struct {
	Object runtime.Object // read-only
	// Item is the committed state; nil for a dry run and for kinds that are not stored.
	Item    *store.Item
	Created bool // the object did not exist before
	// Gone is set by Delete if the object went at once. If not it has a deletionTimestamp now.
	Gone bool

	ending bool // a deletion has written that the object goes at once, and is to remove it now
}

// A Creater answers creates of kinds that are never stored (reviews), and of subresources that act on more
// than their parent object (serviceaccounts/token).
type Creater func(ctx context.Context, req *Request, body api.Object, o metav1.CreateOptions) (runtime.Object, error)

// A Follower is told of each write of a resource's objects that is there to stay, before the request is answered: old is nil
// for an object that is new, next for one that has gone. Both are the store's.
type Follower func(ctx context.Context, old, next api.Object)

// Door is the pipeline's face, method by method.
type Door interface {
	// Get returns the latest committed state of an object; NotFound if there is none.
	Get(ctx context.Context, req *Request) (*store.Item, error)
	// List returns the objects that the options select, at one revision.
	List(ctx context.Context, req *Request, o *metav1.ListOptions) (*List, error)
	// Create stores a new object, or acts on a subresource (binding, eviction, token).
	Create(ctx context.Context, req *Request, obj api.Object, o *metav1.CreateOptions) (*Result, error)
	// Update replaces an object or its status or scale.
	Update(ctx context.Context, req *Request, obj api.Object, o *metav1.UpdateOptions) (*Result, error)
	Patch(ctx context.Context, req *Request, pt types.PatchType, data []byte, o *metav1.PatchOptions) (*Result, error)
	Delete(ctx context.Context, req *Request, o *metav1.DeleteOptions) (*Result, error)
	DeleteCollection(ctx context.Context, req *Request, o *metav1.DeleteOptions, which *metav1.ListOptions) (*List, error)
}

// A List is a consistent selection of objects.
type List struct {
	Items    []*store.Item
	Revision int64
	// Continue is the token for the rest, "" at the end; Remaining counts it where that is known.
	Continue  string
	Remaining *int64
	Looked    int // at how many objects, to select Items
}
