package pipeline

import (
	"context"
	"errors"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/api/packed"
	"clipper/apiserver/admission"
	"clipper/catalogue"
	"clipper/store"
)

// A change makes the wanted state of an object from its current one, which it must not touch and which is
// nil if there is none. It may run several times. The result carries managedFields already.
type change func(ctx context.Context, old api.Object) (api.Object, error)

// An update says how an object is to be replaced.
type update struct {
	next        change
	uid         types.UID // precondition; "" for none
	allowCreate bool
	packed      bool // what next makes is packed, and so the current state may stay so
	// authorizeCreate asks whether the user may create, when the update turns out to be a create.
	authorizeCreate func(ctx context.Context) error
	rules           rules
}

// rules are what the main resource and each subresource differ in.
type rules struct {
	prepare  func(obj, old api.Object)
	validate func(obj, old api.Object) field.ErrorList
	metadata []catalogue.MetaCheck
	warn     bool
	// shown is what admission sees of an object, nil for the object itself. The change has asked the
	// mutators then: what they do to that must become part of the object.
	shown func(obj api.Object) api.Object
}

// rules returns what the request's subresource allows to change; false if it cannot be updated.
func (req *Request) rules() (rules, bool) {
	r := req.Resource
	switch {
	case req.Subresource == "" && req.Kind != nil && req.Kind.Version != nil && req.Kind.Version.ValidateUpdate != nil:
		return rules{prepare: r.PrepareUpdate, validate: req.Kind.Version.ValidateUpdate, metadata: r.Metadata, warn: true}, true
	case req.Subresource == "":
		return rules{prepare: r.PrepareUpdate, validate: r.ValidateUpdate, metadata: r.Metadata, warn: true}, true
	case req.Subresource == "status" && r.Status != nil:
		return rules{prepare: r.Status.Prepare, validate: r.Status.Validate, metadata: r.Status.Metadata}, true
	}
	for i := range r.Subresources {
		if s := &r.Subresources[i]; s.Name == req.Subresource && s.Update != nil {
			return rules{prepare: s.Update.Prepare, validate: s.Update.Validate, metadata: s.Update.Metadata}, true
		}
	}
	return rules{}, false
}

// Update replaces an object, its status, or another subresource that shares its kind. obj has its
// defaults already; it is taken over.
func (p *Pipeline) Update(ctx context.Context, req *Request, obj api.Object, o *metav1.UpdateOptions) (res *Result, err error) {
	if req.Subresource == "scale" {
		return p.updateScale(ctx, req, obj, o)
	}
	rules, ok := req.rules()
	if !ok || req.Resource.Prefix == "" {
		return nil, apierrors.NewMethodNotSupported(req.groupResource(), "update")
	}
	w := p.begin(req, o.DryRun, o.FieldManager)
	w.options = o
	defer func() { w.end(err) }()
	if err := req.matchNamespace(obj); err != nil {
		return nil, err
	}
	if err := req.matchName(obj); err != nil {
		return nil, err
	}
	w.dedupOwners(obj, duplicateOwners)
	// With a resourceVersion one attempt is all there can be, so that the object need not be kept.
	version := obj.GetResourceVersion()
	once := version != ""
	u := update{
		uid:             obj.GetUID(),
		packed:          packed.Is(obj),
		allowCreate:     req.Resource.AllowCreateOnUpdate && req.Subresource == "",
		authorizeCreate: req.AuthorizeCreate,
		rules:           rules,
		next: func(_ context.Context, old api.Object) (api.Object, error) {
			next := obj
			if !once {
				next = obj.DeepCopyObject().(api.Object)
			}
			// A commit that lost a race has taken the version off; without it the next attempt would
			// overwrite the winner.
			next.SetResourceVersion(version)
			w.updateFields(old, next)
			return next, nil
		},
	}
	return w.update(ctx, u)
}

// update runs u until it is committed, refused, or found to change nothing.
func (w *write) update(ctx context.Context, u update) (*Result, error) {
	current, _, err := w.p.store.Latest(ctx, w.req.key())
	if err != nil {
		return nil, storeError(err)
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, storeError(err)
		}
		res, err := w.tryUpdate(ctx, u, current)
		var conflict *store.ConflictError
		if !errors.As(err, &conflict) {
			return res, err
		}
		w.rollback()
		if current = conflict.Current; current == nil { // gone, or there and unreadable
			if current, _, err = w.p.store.Latest(ctx, w.req.key()); err != nil {
				return nil, storeError(err)
			}
		}
	}
}

func (w *write) tryUpdate(ctx context.Context, u update, current *store.Item) (*Result, error) {
	var old api.Object
	if current != nil {
		old = current.Object
	}
	if old != nil && !u.packed {
		old = packed.Open(old)
	}
	if old == nil && !u.allowCreate {
		return nil, w.req.notFound()
	}
	if err := w.checkUID(u.uid, old); err != nil {
		return nil, err
	}
	if c := w.req.Resource.Custom; c != nil && old != nil {
		var err error
		if old, err = c.Hub(old); err != nil {
			return nil, err
		}
	}
	next, err := u.next(ctx, old)
	if err != nil {
		return nil, err
	}
	if old == nil {
		return w.createInstead(ctx, u, next)
	}
	if u.packed {
		clearKind(next) // so that whoever is asked about it is shown what FromHub opens
	}
	if u.rules.shown == nil {
		if err := w.mutate(ctx, admission.Update, next, old); err != nil {
			return nil, err
		}
	}
	w.dedupOwners(next, duplicateOwnersAfter)
	if err := w.checkRevision(next, old); err != nil {
		return nil, err
	}
	if err := w.prepareUpdate(ctx, u.rules, next, old); err != nil {
		return nil, err
	}
	if w.emptiedFinalizers(next, old) {
		return w.deleteEmptied(ctx, current, next)
	}
	return w.commitUpdate(ctx, current, next)
}

func (w *write) createInstead(ctx context.Context, u update, obj api.Object) (*Result, error) {
	if err := w.req.mayCome(obj); err != nil {
		return nil, err
	}
	if err := w.mutate(ctx, admission.Create, obj, nil); err != nil {
		return nil, err
	}
	w.dedupOwners(obj, duplicateOwnersAfter)
	if _, err := revisionOf(obj); err != nil {
		return nil, err
	}
	if err := w.prepareCreate(ctx, obj); err != nil {
		return nil, err
	}
	if u.authorizeCreate != nil {
		if err := u.authorizeCreate(ctx); err != nil {
			return nil, err
		}
	}
	if !w.dryRun { // whose answer shows it as it came
		obj.SetResourceVersion("")
	}
	return w.commitCreate(ctx, obj)
}

// checkRevision enforces the resourceVersion that the client based its change on.
func (w *write) checkRevision(next, old api.Object) error {
	if next.GetResourceVersion() == old.GetResourceVersion() {
		return nil
	}
	revision, err := revisionOf(next)
	if err != nil {
		return err
	}
	if revision == 0 {
		if w.req.Resource.AllowUnconditionalUpdate {
			next.SetResourceVersion(old.GetResourceVersion())
			return nil
		}
		gk := schema.GroupKind{Group: w.req.Resource.Group, Kind: w.req.Resource.Name} // sic: the plural
		fault := field.Invalid(field.NewPath("metadata").Child("resourceVersion"), 0, "must be specified for an update")
		return apierrors.NewInvalid(gk, w.req.Name, field.ErrorList{fault})
	}
	if current, err := revisionOf(old); err == nil && current == revision {
		return nil // the same number, in other figures
	}
	return w.req.conflict(errors.New(optimisticLock))
}

// revisionOf is an object's resourceVersion as a number: 0 where there is none. For what is no number upstream's answer
// is a bare 500, too.
func revisionOf(obj api.Object) (uint64, error) {
	version := obj.GetResourceVersion()
	if version == "" {
		return 0, nil
	}
	return strconv.ParseUint(version, 10, 64)
}

// prepareUpdate takes a mutated object through the stages up to the commit.
func (w *write) prepareUpdate(ctx context.Context, rules rules, next, old api.Object) error {
	if err := w.req.matchNamespace(next); err != nil {
		return err
	}
	next.SetGeneration(old.GetGeneration())
	if rules.prepare != nil {
		rules.prepare(next, old)
	}
	if !w.dryRun {
		next.SetSelfLink("")
	}
	if next.GetUID() == "" {
		next.SetUID(old.GetUID())
	}
	if created := old.GetCreationTimestamp(); !created.IsZero() {
		next.SetCreationTimestamp(created)
	}
	if at := old.GetDeletionTimestamp(); at != nil {
		next.SetDeletionTimestamp(at)
	}
	if grace := old.GetDeletionGracePeriodSeconds(); grace != nil && next.GetDeletionGracePeriodSeconds() == nil {
		next.SetDeletionGracePeriodSeconds(grace)
	}
	if err := w.req.validateUpdate(next, old, w.examine(ctx, admission.Update, next, old), rules); err != nil {
		return err
	}
	if rules.warn {
		w.warnings(next, old)
	}
	if w.req.Resource.Canonicalize != nil {
		w.req.Resource.Canonicalize(next)
	}
	storedForm(next)
	clearKind(next)
	if rules.shown != nil {
		next, old = rules.shown(next), rules.shown(old)
	}
	return w.validate(ctx, admission.Update, next, old)
}

// commitUpdate replaces current by next unless they are the same.
func (w *write) commitUpdate(ctx context.Context, current *store.Item, next api.Object) (*Result, error) {
	next = packed.Pack(next)
	switch {
	case unchanged(current.Object, next) && !w.p.store.Stale(current):
		w.rollback()
		// The state may still be on its way to the log; nobody may hear of it before it is durable.
		if err := w.p.store.Of(current.Key.Resource).WaitRevision(ctx, current.Revision); err != nil {
			return nil, storeError(err)
		}
		return &Result{Object: current.Object, Item: current}, nil
	case w.dryRun:
		return &Result{Object: next}, nil
	}
	item, err := w.commit(ctx, store.Write{Key: w.req.key(), Expect: current.Revision, Object: next})
	if err != nil {
		return nil, storeError(err)
	}
	w.committed(ctx, current.Object, item.Object)
	return &Result{Object: item.Object, Item: item}, nil
}

// emptiedFinalizers says whether next has let go of the last thing that kept a deleted object alive.
func (w *write) emptiedFinalizers(next, old api.Object) bool {
	if len(next.GetFinalizers()) > 0 || old.GetDeletionTimestamp() == nil {
		return false
	}
	if !w.mayGo(next) {
		return false
	}
	grace := old.GetDeletionGracePeriodSeconds()
	return grace == nil || *grace == 0
}

// deleteEmptied removes an object whose last finalizer has gone. The answer is the state without it, which was never
// stored: those who watch see the last that was.
func (w *write) deleteEmptied(ctx context.Context, current *store.Item, last api.Object) (*Result, error) {
	if w.dryRun {
		return &Result{Object: last}, nil
	}
	if _, err := w.p.store.Commit(ctx, store.Write{Key: w.req.key(), Expect: current.Revision}); err != nil {
		return nil, storeError(err)
	}
	w.committed(ctx, current.Object, nil)
	return &Result{Object: last}, nil
}
