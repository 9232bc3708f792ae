package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue"
	"clipper/store"
)

// freshWait is how long a read waits for a revision that has not been written yet. Upstream's figure.
const freshWait = 3 * time.Second

// expiredContinue is upstream's answer to a continue token whose snapshot is gone.
const expiredContinue = "The provided continue parameter is too old to display a consistent list result. " +
	"You can start a new list without the continue parameter, or use the continue token in this response to retrieve " +
	"the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that " +
	"were created, modified, or deleted between the time the first chunk was returned and now may show up in the list."

// expiredList is upstream's answer to a revision that is kept no longer.
const expiredList = "The resourceVersion for the provided list is too old."

// Get returns the latest committed state of an object.
func (p *Pipeline) Get(ctx context.Context, req *Request) (*store.Item, error) {
	return p.GetNotOlder(ctx, req, "")
}

// GetNotOlder returns a state of an object that is not older than a revision: "" for the latest, "0" for any.
func (p *Pipeline) GetNotOlder(ctx context.Context, req *Request, resourceVersion string) (*store.Item, error) {
	if err := p.WaitFor(ctx, req, resourceVersion); err != nil {
		return nil, err
	}
	item, ok, err := p.store.Lookup(req.key())
	if err != nil {
		return nil, storeError(err)
	}
	if !ok {
		return nil, req.notFound()
	}
	return item, nil
}

// WaitFor waits until readers see the revision named by a client, for as long as upstream would; with none
// named, all that has been acknowledged to anyone.
func (p *Pipeline) WaitFor(ctx context.Context, req *Request, resourceVersion string) error {
	kept := p.kept(req)
	if resourceVersion == "" {
		return storeError(kept.Fresh(ctx))
	}
	revision, err := parseRevision(resourceVersion)
	if err != nil || revision <= kept.Revision() {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, freshWait)
	defer cancel()
	if err := kept.WaitRevision(waiting, revision); err != nil && revision > kept.Revision() {
		return tooLarge(revision, kept.Revision(), 1)
	}
	return nil
}

func parseRevision(resourceVersion string) (int64, error) {
	if resourceVersion == "" || resourceVersion == "0" {
		return 0, nil
	}
	revision, err := strconv.ParseUint(resourceVersion, 10, 63)
	if err != nil {
		fault := field.Invalid(field.NewPath("resourceVersion"), resourceVersion, err.Error())
		return 0, apierrors.NewBadRequest(fmt.Sprintf("invalid resource version: %v", fault))
	}
	return int64(revision), nil
}

func tooLarge(asked, current int64, retrySeconds int) error {
	err := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", asked, current), retrySeconds)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{
		Type:    metav1.CauseTypeResourceVersionTooLarge,
		Message: "Too large resource version",
	}}
	return err
}

// List returns the objects that o selects, in one consistent state, at most o.Limit of them.
func (p *Pipeline) List(ctx context.Context, req *Request, o *metav1.ListOptions) (*List, error) {
	if o == nil {
		o = &metav1.ListOptions{}
	}
	sel, err := ParseSelection(req, o)
	if err != nil {
		return nil, err
	}
	if err := p.readable(req, sel); err != nil {
		return nil, err
	}
	if o.Continue != "" {
		return p.listOn(ctx, req, o, sel)
	}
	snap, err := p.listFrom(ctx, req, o)
	if err != nil {
		return nil, err
	}
	return collect(req, snap, sel, store.Key{}, p.pageSize(req, o), time.Now()), nil
}

// pageSize is how many objects a list may have that continues no other; 0: any number. Where any state will do, upstream
// answers from a cache that knows of no limits, if it has one.
func (p *Pipeline) pageSize(req *Request, o *metav1.ListOptions) int64 {
	if o.ResourceVersion == "0" && o.Limit > 0 && p.cache.has(req.Resource.Resource) {
		return 0
	}
	return o.Limit
}

// readable is Complete for those that sel selects by their name.
func (p *Pipeline) readable(req *Request, sel Selection) error {
	if sel.name == "" || req.Resource.Namespaced && req.Namespace == "" {
		return p.Complete(req)
	}
	key := req.key()
	key.Name = sel.name
	_, _, err := p.store.Lookup(key)
	return storeError(err)
}

// Complete refuses a list, or the initial state of a watch, that would lack an object because its value cannot be
// read: who takes it for the whole would act on that.
func (p *Pipeline) Complete(req *Request) error {
	err := p.store.Complete(req.Resource.Prefix, req.Namespace)
	if err == nil {
		return nil
	}
	var unreadable *store.UnreadableError
	if errors.As(err, &unreadable) {
		if !unreadable.Sealed {
			return apierrors.NewInternalError(unreadable.Err)
		}
		return apierrors.NewInternalError(fmt.Errorf("unable to transform key %q: %w", unreadable.Path, unreadable.Err))
	}
	return storeError(err)
}

// listOn returns the next page of a list.
func (p *Pipeline) listOn(ctx context.Context, req *Request, o *metav1.ListOptions, sel Selection) (*List, error) {
	prefix := req.Resource.Prefix
	token, err := parseContinue(o.Continue, req.Resource.Namespaced && req.Namespace == "")
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid continue token: %v", err))
	}
	if o.ResourceVersion != "" && o.ResourceVersion != "0" {
		return nil, apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
	}
	after := store.Key{Resource: prefix, Namespace: token.namespace, Name: token.name}
	if after.Namespace == "" {
		after.Namespace = req.Namespace
	}
	if token.revision < 0 {
		if err := p.WaitFor(ctx, req, ""); err != nil {
			return nil, err
		}
		return collect(req, p.store.Snapshot(prefix), sel, after, o.Limit, time.Now()), nil
	}
	snap, err := p.store.ReadAt(ctx, prefix, token.revision)
	if err == nil && token.expired(time.Now()) {
		err = store.ErrCompacted
	}
	if err != nil {
		return nil, p.continueError(req, err, token)
	}
	return collect(req, snap, sel, after, o.Limit, token.issued), nil
}

// listFrom picks the state that o asks for.
func (p *Pipeline) listFrom(ctx context.Context, req *Request, o *metav1.ListOptions) (store.Snapshot, error) {
	prefix := req.Resource.Prefix
	revision, err := parseRevision(o.ResourceVersion)
	if err != nil {
		return store.Snapshot{}, err
	}
	exact := o.ResourceVersionMatch == metav1.ResourceVersionMatchExact ||
		o.ResourceVersionMatch == "" && o.Limit > 0 && revision > 0 // upstream's rule for old clients
	if err := p.WaitFor(ctx, req, o.ResourceVersion); err != nil {
		return store.Snapshot{}, err
	}
	if !exact {
		return p.store.Snapshot(prefix), nil
	}
	snap, err := p.store.ReadAt(ctx, prefix, revision)
	if errors.Is(err, store.ErrCompacted) {
		return snap, apierrors.NewResourceExpired(expiredList)
	}
	return snap, storeError(err)
}

// continueError answers an expired token with one that goes on in the present state. One of a revision to come was
// made up.
func (p *Pipeline) continueError(req *Request, err error, t continueToken) error {
	switch {
	case errors.Is(err, store.ErrFuture):
		return tooLarge(t.revision, p.Revision(req), 0)
	case !errors.Is(err, store.ErrCompacted):
		return storeError(err)
	}
	t.revision = -1
	expired := apierrors.NewResourceExpired(expiredContinue)
	expired.ErrStatus.ListMeta.Continue = t.String()
	return expired
}

// collect walks a snapshot until limit objects (0: no limit) are selected. issued is when its first page
// was read.
func collect(req *Request, snap store.Snapshot, sel Selection, after store.Key, limit int64, issued time.Time) *List {
	out := &List{Revision: snap.Revision()}
	if sel.name != "" && after == (store.Key{}) && (req.Namespace != "" || !req.Resource.Namespaced) {
		key := req.key()
		key.Name = sel.name
		if item, ok := snap.Get(key); ok && sel.Matches(item.Object) {
			out.Items = append(out.Items, item)
		}
		out.Looked = 1
		return out
	}
	if limit == 0 && sel.Everything() {
		out.Items = make([]*store.Item, 0, snap.Len(req.Namespace))
	}
	var last store.Key
	more := false
	snap.Ascend(req.Namespace, after, func(item *store.Item) bool {
		if limit > 0 && int64(len(out.Items)) == limit {
			more = true
			return false
		}
		last = item.Key
		out.Looked++
		if sel.Matches(item.Object) {
			out.Items = append(out.Items, item)
		}
		return true
	})
	if !more {
		return out
	}
	token := continueToken{revision: snap.Revision(), name: last.Name, issued: issued}
	if req.Namespace == "" {
		token.namespace = last.Namespace
	}
	out.Continue = token.String()
	if sel.Everything() {
		rest := int64(snap.Len(req.Namespace) - snap.Rank(req.Namespace, last))
		out.Remaining = &rest
	}
	return out
}

// metadataOnly says whether objects are selected by their name and namespace alone. Those that have no namespace can be asked
// about it nevertheless: it is empty.
func metadataOnly(req *Request) bool {
	return len(req.Resource.Fields) == 0 && req.Resource.Custom == nil
}

// unsupportedField is upstream's refusal of a field selector; kinds with fields of their own word it otherwise.
func unsupportedField(req *Request, label string) error {
	if !metadataOnly(req) {
		return fmt.Errorf("field label not supported: %s", label)
	}
	return fmt.Errorf("%q is not a known field selector: only %q, %q", label, "metadata.name", "metadata.namespace")
}

// kept is the store that keeps the request's resource.
func (p *Pipeline) kept(req *Request) *store.Store { return p.store.Of(req.Resource.Prefix) }

// Revision is the latest one that readers of the request's resource see.
func (p *Pipeline) Revision(req *Request) int64 { return p.kept(req).Revision() }

// Watch starts a watch of the request's resource and namespace behind a revision.
func (p *Pipeline) Watch(req *Request, after int64) (*store.Watch, error) {
	return p.store.Watch(req.Resource.Prefix, req.Namespace, after)
}

// Listen has l hear of each change of a resource, until Unlisten.
func (p *Pipeline) Listen(r *catalogue.Resource, l *store.Listener) { p.store.Listen(r.Prefix, l) }

// Unlisten ends what Listen has begun.
func (p *Pipeline) Unlisten(r *catalogue.Resource, l *store.Listener) { p.store.Unlisten(r.Prefix, l) }

// Snapshot returns the present state of the request's resource.
func (p *Pipeline) Snapshot(req *Request) store.Snapshot {
	return p.store.Snapshot(req.Resource.Prefix)
}

// Reach waits until a revision of the request's resource has been written that may be in the future, as long as ctx lets
// it.
func (p *Pipeline) Reach(ctx context.Context, req *Request, revision int64) error {
	kept := p.kept(req)
	if revision <= kept.Revision() {
		return nil
	}
	return kept.WaitRevision(ctx, revision)
}
