package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/packed"
	"clipper/apiserver/admission"
	"clipper/store"
	"clipper/store/log"
)

// nameAttempts is how many generated names are tried before the client is told to.
const nameAttempts = 8

// Create stores a new object, or acts on a subresource. obj has its defaults already; it is taken over.
func (p *Pipeline) Create(ctx context.Context, req *Request, obj api.Object, o *metav1.CreateOptions) (res *Result, err error) {
	w := p.begin(req, o.DryRun, o.FieldManager)
	w.options = o
	defer func() { w.end(err) }()
	act := p.creater(req)
	if act == nil && (req.Resource.Prefix == "" || req.Subresource != "") {
		return nil, apierrors.NewMethodNotSupported(req.groupResource(), "create")
	}
	if req.Subresource != "binding" && req.Subresource != "token" { // whose uid and revision are preconditions
		wipeSystemFields(obj)
	}
	if err := req.matchNamespace(obj); err != nil {
		return nil, err
	}
	if act != nil {
		return w.act(ctx, act, obj, o)
	}
	if err := req.mayCome(obj); err != nil {
		return nil, err
	}
	w.dedupOwners(obj, duplicateOwners)
	w.updateFields(nil, obj)
	if err := w.mutate(ctx, admission.Create, obj, nil); err != nil {
		return nil, err
	}
	w.dedupOwners(obj, duplicateOwnersAfter)
	for attempt := 1; ; attempt++ {
		res, err := w.tryCreate(ctx, obj, attempt < nameAttempts)
		if !errors.Is(err, errNameTaken) {
			return res, err
		}
	}
}

// errRevisionOnCreate is no API error upstream either: the answer is a bare 500.
var errRevisionOnCreate = errors.New("resourceVersion should not be set on objects to be created")

// mayCome refuses new objects of a kind that is about to vanish.
func (req *Request) mayCome(obj api.Object) error {
	if c := req.Resource.Custom; c == nil || !c.Terminating {
		return nil
	}
	return apierrors.NewForbidden(req.Resource.GroupResource(), obj.GetName(), errors.New("create not allowed while custom resource definition is terminating"))
}

// errNameTaken asks for another attempt with another generated name.
var errNameTaken = errors.New("generated name is taken")

func (w *write) tryCreate(ctx context.Context, obj api.Object, again bool) (*Result, error) {
	final := obj
	generated := obj.GetName() == "" && obj.GetGenerateName() != ""
	if generated && again {
		final = obj.DeepCopyObject().(api.Object)
	}
	generateName(final)
	if err := w.prepareCreate(ctx, final); err != nil {
		return nil, err
	}
	res, err := w.commitCreate(ctx, final)
	var taken *store.ConflictError
	switch {
	case err == nil:
		return res, nil
	case !errors.As(err, &taken):
		return nil, err
	case generated && again:
		return nil, errNameTaken
	case obj.GetGenerateName() != "": // upstream says so of names that were given, too
		return nil, apierrors.NewGenerateNameConflict(w.req.groupResource(), final.GetName(), 1)
	}
	return nil, alreadyExists(w.req, final.GetName(), taken.Current)
}

// prepareCreate takes a mutated, named object through the stages up to the commit. It serves a create
// proper and an update or apply that finds nothing.
func (w *write) prepareCreate(ctx context.Context, obj api.Object) error {
	r := w.req.Resource
	if err := w.req.matchNamespace(obj); err != nil {
		return err
	}
	fillSystemFields(obj)
	if r.PrepareCreate != nil {
		r.PrepareCreate(obj)
	}
	if r.PrepareCreateFor != nil {
		r.PrepareCreateFor(obj, w.req.User)
	}
	if err := w.req.validateCreate(obj, w.examine(ctx, admission.Create, obj, nil)); err != nil {
		return err
	}
	w.warnings(obj, nil)
	if r.Canonicalize != nil {
		r.Canonicalize(obj)
	}
	storedForm(obj)
	return w.validate(ctx, admission.Create, obj, nil)
}

func (w *write) warnings(obj, old api.Object) {
	if w.req.Resource.Warnings == nil {
		return
	}
	for _, text := range w.req.Resource.Warnings(obj, old) {
		w.warn(text)
	}
}

// commitCreate stores obj, or for a dry run says whether that could work. A taken name is a
// *store.ConflictError.
func (w *write) commitCreate(ctx context.Context, obj api.Object) (*Result, error) {
	if !w.dryRun { // whose answer shows both as they came
		// A revision that is no number, or none at all, is passed over, as upstream does.
		if revision, err := strconv.ParseUint(obj.GetResourceVersion(), 10, 64); err == nil && revision != 0 {
			return nil, errRevisionOnCreate
		}
		obj.SetResourceVersion("")
		obj.SetSelfLink("")
	}
	clearKind(obj)
	obj = packed.Pack(obj)
	key := w.req.key()
	key.Namespace, key.Name = obj.GetNamespace(), obj.GetName()
	if !w.dryRun {
		item, err := w.commit(ctx, store.Write{Key: key, Object: obj})
		if err != nil {
			return nil, storeError(err)
		}
		w.committed(ctx, nil, item.Object)
		return &Result{Object: item.Object, Item: item, Created: true}, nil
	}
	item, found, err := w.p.store.Latest(ctx, key)
	if err == nil && found {
		err = &store.ConflictError{Current: item}
	}
	if err != nil {
		return nil, storeError(err)
	}
	return &Result{Object: obj, Created: true}, nil
}

func alreadyExists(req *Request, name string, current *store.Item) error {
	err := apierrors.NewAlreadyExists(req.groupResource(), name)
	if current != nil && current.Object.GetDeletionTimestamp() != nil {
		err.ErrStatus.Message = "object is being deleted: " + err.ErrStatus.Message
	}
	return err
}

// act runs admission for a create that is answered by a Creater, then the Creater.
func (w *write) act(ctx context.Context, fn Creater, body api.Object, o *metav1.CreateOptions) (*Result, error) {
	sub := w.body()
	defaultBody(sub, body)
	if w.req.Subresource == "" { // reviews show who has written them
		w.updateFields(nil, body)
	}
	w.ownBody(sub, body)
	if err := w.mutate(ctx, admission.Create, body, nil); err != nil {
		return nil, err
	}
	defaultBody(sub, body) // a webhook may have taken something away
	if err := w.validate(ctx, admission.Create, body, nil); err != nil {
		return nil, err
	}
	out, err := fn(ctx, w.req, body, *o)
	if err != nil {
		return nil, err
	}
	return &Result{Object: out, Created: true}, nil
}

// storeError turns what the store answers into API errors, all but conflicts: those are the caller's to judge.
func storeError(err error) error {
	if err == nil {
		return nil // before anything is allocated to look into it
	}
	var conflict *store.ConflictError
	var fault *log.FaultError
	var unreadable *store.UnreadableError
	switch {
	case errors.As(err, &unreadable):
		return apierrors.NewInternalError(unreadable.Err)
	case errors.As(err, &conflict):
		return err
	case errors.As(err, &fault):
		return fault // a bare 500 with etcd's own words, as upstream's
	case errors.Is(err, context.DeadlineExceeded):
		return apierrors.NewTimeoutError("Timeout: request did not complete within the allotted timeout", 0)
	case errors.Is(err, store.ErrReadOnly), errors.Is(err, store.ErrClosed):
		return apierrors.NewServiceUnavailable(err.Error())
	case apierrors.ReasonForError(err) != metav1.StatusReasonUnknown:
		return err
	}
	return apierrors.NewInternalError(fmt.Errorf("commit: %w", err))
}
