package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/api"
	"clipper/api/packed"
	"clipper/apiserver/admission"
	"clipper/catalogue"
	"clipper/store"
	"clipper/store/log"
)

// orphaningJobs is said to those who delete a job and have not thought of its pods.
const orphaningJobs = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning"

// warnOfOrphans warns where dependents stay behind unasked. Upstream does it for jobs only.
func (w *write) warnOfOrphans(o *metav1.DeleteOptions) {
	if w.req.Resource.GroupResource() == jobs && o.PropagationPolicy == nil && o.OrphanDependents == nil {
		w.warn(orphaningJobs)
	}
}

var jobs = schema.GroupResource{Group: "batch", Resource: "jobs"}

// A deletion is what one look at an object decides about deleting it.
type deletion struct {
	next    api.Object // the object with its new metadata; nil if nothing changes
	now     bool       // it goes at once; next, if set, is written before
	pending bool       // it is on its way already and nothing is to be done
}

// Delete removes an object, or marks it so that others finish first: finalizers, a grace period.
func (p *Pipeline) Delete(ctx context.Context, req *Request, o *metav1.DeleteOptions) (res *Result, err error) {
	if req.Subresource != "" || req.Resource.Prefix == "" {
		return nil, apierrors.NewMethodNotSupported(req.groupResource(), "delete")
	}
	o = o.DeepCopy() // what is not said in it is filled in
	w := p.begin(req, o.DryRun, "")
	w.options = o
	defer func() { w.end(err) }()
	if faults := validation.ValidateDeleteOptions(o); len(faults) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "DeleteOptions"}, "", faults)
	}
	w.warnOfOrphans(o)
	current, _, err := p.store.Latest(ctx, req.key())
	if err != nil {
		return nil, storeError(err)
	}
	var ending *store.Item // what a deletion that waits for nobody has left, for a moment
	for {
		switch {
		case ending != nil && (current == nil || current.Created != ending.Created):
			return w.deleted(ending, nil, true), nil // somebody else has finished it
		case current == nil:
			return nil, req.notFound()
		case ctx.Err() != nil:
			return nil, storeError(ctx.Err())
		}
		res, err := w.tryDelete(ctx, current, o)
		var conflict *store.ConflictError
		switch {
		case errors.As(err, &conflict):
			w.rollback()
			current = conflict.Current
		case err == nil && res.ending:
			ending, current = res.Item, res.Item
		default:
			return res, err
		}
	}
}

func (w *write) tryDelete(ctx context.Context, current *store.Item, o *metav1.DeleteOptions) (*Result, error) {
	if err := w.req.checkDeletable(o.Preconditions, current.Object); err != nil {
		return nil, err
	}
	if err := w.visible(current.Object); err != nil {
		return nil, err
	}
	d := w.decide(current.Object, o, time.Now())
	if d.pending {
		return w.deleted(current, nil, false), nil
	}
	old := packed.Open(current.Object)
	if err := w.mutate(ctx, admission.Delete, nil, old); err != nil {
		return nil, err
	}
	if err := w.validate(ctx, admission.Delete, nil, old); err != nil {
		return nil, err
	}
	switch {
	case w.dryRun:
		return w.deleted(current, d.next, d.now), nil
	case d.now && d.next == nil:
		item, err := w.p.store.Commit(ctx, store.Write{Key: w.req.key(), Expect: current.Revision})
		if err != nil {
			return nil, storeError(err)
		}
		w.committed(ctx, current.Object, nil)
		return w.deleted(item, nil, true), nil
	case d.next == nil || equal(current.Object, d.next):
		return &Result{Object: current.Object, Item: current}, nil
	}
	item, err := w.p.store.Commit(ctx, store.Write{Key: w.req.key(), Expect: current.Revision, Object: d.next})
	if err != nil {
		return nil, w.beginningError(storeError(err))
	}
	if d.now && o.Preconditions != nil && o.Preconditions.ResourceVersion != nil {
		o.Preconditions.ResourceVersion = ptr(item.Object.GetResourceVersion()) // the write was ours
	}
	return &Result{Object: item.Object, Item: item, ending: d.now}, nil
}

// beginningError words what the log says as whoever begins the deletion does.
func (w *write) beginningError(err error) error {
	if fault := (*log.FaultError)(nil); w.req.Resource.BeginDelete != nil && errors.As(err, &fault) {
		return apierrors.NewInternalError(fault)
	}
	return err
}

// visible returns why obj cannot be seen in the version that the request speaks, though it is not to be shown: a
// webhook that converts it may fail, and who cannot see an object does not delete or scale it.
func (w *write) visible(obj api.Object) error {
	if c := w.req.Resource.Custom; c == nil || !c.Remote {
		return nil
	}
	_, err := w.p.kind(w.req).FromHub(obj)
	return err
}

// deleted makes the answer: the object where the resource returns it, else a Status that names it.
func (w *write) deleted(item *store.Item, last api.Object, gone bool) *Result {
	r := w.req.Resource
	obj := item.Object
	if last != nil {
		obj = last
	}
	if !gone && last != nil || catalogue.ReturnsDeleted(r.GroupResource()) || r.BeginDelete != nil {
		return &Result{Object: obj, Item: item, Gone: gone}
	}
	return &Result{Gone: gone, Item: item, Object: &metav1.Status{
		Status:  metav1.StatusSuccess,
		Details: &metav1.StatusDetails{Name: obj.GetName(), Group: w.req.groupResource().Group, Kind: r.Name, UID: obj.GetUID()}, // sic: the plural
	}}
}

// checkDeletable words what is wrong as whoever begins the deletion does.
func (req *Request) checkDeletable(c *metav1.Preconditions, obj api.Object) error {
	if req.Resource.BeginDelete == nil || c == nil || obj.GetDeletionTimestamp() != nil {
		return req.checkPreconditions(c, obj)
	}
	fault := func(what string, wanted, have any) error {
		return apierrors.NewConflict(req.groupResource(), req.Name, fmt.Errorf("Precondition failed: %[1]s in precondition: %[2]v, %[1]s in object meta: %[3]v", what, wanted, have))
	}
	if c.UID != nil && *c.UID != obj.GetUID() {
		return fault("UID", *c.UID, obj.GetUID())
	}
	if c.ResourceVersion != nil && *c.ResourceVersion != obj.GetResourceVersion() {
		return fault("ResourceVersion", *c.ResourceVersion, obj.GetResourceVersion())
	}
	return nil
}

func (req *Request) checkPreconditions(c *metav1.Preconditions, obj api.Object) error {
	if c == nil {
		return nil
	}
	gr := schema.GroupResource{Group: req.Resource.Group, Resource: req.Resource.Kind} // sic: the kind
	if c.UID != nil && *c.UID != obj.GetUID() {
		return apierrors.NewConflict(gr, req.Name, fmt.Errorf("the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted and then recreated", *c.UID, obj.GetUID()))
	}
	if c.ResourceVersion != nil && *c.ResourceVersion != obj.GetResourceVersion() {
		return apierrors.NewConflict(gr, req.Name, fmt.Errorf("the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). The object might have been modified", *c.ResourceVersion, obj.GetResourceVersion()))
	}
	return nil
}

// decide says what deleting old means at the time now. It changes nothing but o, which from here on says how much
// time there really is: that is what admission hears.
func (w *write) decide(old api.Object, o *metav1.DeleteOptions, now time.Time) deletion {
	r := w.req.Resource
	next := old.DeepCopyObject().(api.Object)
	graceful, pending, grace := w.grace(next, o, now)
	if pending {
		return deletion{pending: true}
	}
	if r.BeginDelete != nil && old.GetDeletionTimestamp() == nil {
		r.BeginDelete(next, now)
		return deletion{next: next}
	}
	next.SetFinalizers(finalizers(r, next.GetFinalizers(), o))
	waits := len(next.GetFinalizers()) > 0 || !w.mayGo(next)
	switch {
	case graceful && (waits || grace > 0):
		prepareDeletion(next)
		return deletion{next: next}
	case graceful:
		return deletion{next: next, now: true}
	case waits:
		markDeleting(next, now)
		prepareDeletion(next)
		return deletion{next: next}
	}
	return deletion{now: true}
}

// grace applies the rules of graceful deletion to obj: it may get a deletion time, or an earlier one.
// pending says that the deletion is under way and o asks for nothing sooner.
func (w *write) grace(obj api.Object, o *metav1.DeleteOptions, now time.Time) (graceful, pending bool, seconds int64) {
	if asked := o.GracePeriodSeconds; asked != nil && *asked < 0 {
		o.GracePeriodSeconds = ptr(int64(1))
	}
	if w.req.Resource.GracePeriod == nil {
		return false, false, 0
	}
	if obj.GetDeletionTimestamp() != nil {
		return shorten(obj, o.GracePeriodSeconds, now)
	}
	seconds = w.req.Resource.GracePeriod(obj, o.GracePeriodSeconds)
	o.GracePeriodSeconds = ptr(seconds)
	at := metav1.NewTime(now.Add(time.Duration(seconds) * time.Second)).Rfc3339Copy()
	obj.SetDeletionTimestamp(&at)
	obj.SetDeletionGracePeriodSeconds(&seconds)
	if obj.GetGeneration() > 0 {
		obj.SetGeneration(obj.GetGeneration() + 1)
	}
	return true, false, seconds
}

// shorten moves the end of a grace period that runs already closer, never away.
func shorten(obj api.Object, asked *int64, now time.Time) (graceful, pending bool, seconds int64) {
	running := obj.GetDeletionGracePeriodSeconds()
	switch {
	case running == nil || *running == 0:
		return false, false, 0 // its time is up: only finalizers may still hold it
	case asked == nil || *asked >= *running:
		return false, true, 0
	}
	seconds = *asked
	at := obj.GetDeletionTimestamp().Add(time.Duration(seconds-*running) * time.Second)
	if at.Before(now) {
		at = now
		if seconds != 0 {
			seconds = 1 // still graceful: somebody else is to finish the deletion
		}
	}
	end := metav1.NewTime(at).Rfc3339Copy()
	obj.SetDeletionTimestamp(&end)
	obj.SetDeletionGracePeriodSeconds(&seconds)
	return true, false, seconds
}

// markDeleting gives an object that cannot be deleted gracefully, but has finalizers, its deletion time.
func markDeleting(obj api.Object, now time.Time) {
	if obj.GetDeletionTimestamp() == nil && obj.GetGeneration() > 0 {
		obj.SetGeneration(obj.GetGeneration() + 1)
	}
	if at := obj.GetDeletionTimestamp(); at == nil || at.After(now) {
		end := metav1.NewTime(now).Rfc3339Copy()
		obj.SetDeletionTimestamp(&end)
	}
	obj.SetDeletionGracePeriodSeconds(ptr(int64(0)))
}

// finalizers returns have with the garbage collector's own two added or dropped as o asks.
func finalizers(r *catalogue.Resource, have []string, o *metav1.DeleteOptions) []string {
	policy := propagation(r, have, o)
	out := slices.DeleteFunc(slices.Clone(have), func(f string) bool {
		return f == metav1.FinalizerOrphanDependents || f == metav1.FinalizerDeleteDependents
	})
	switch policy {
	case metav1.DeletePropagationOrphan:
		out = append(out, metav1.FinalizerOrphanDependents)
	case metav1.DeletePropagationForeground:
		out = append(out, metav1.FinalizerDeleteDependents)
	}
	if sameSet(out, have) {
		return have
	}
	return out
}

func sameSet(a, b []string) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
}

// propagation is what happens to dependents: as o says, else as an earlier delete said, else the default.
func propagation(r *catalogue.Resource, have []string, o *metav1.DeleteOptions) metav1.DeletionPropagation {
	switch {
	case r.DefaultPropagation == catalogue.NoDependents:
		return metav1.DeletePropagationBackground
	case o.OrphanDependents != nil && *o.OrphanDependents:
		return metav1.DeletePropagationOrphan
	case o.OrphanDependents != nil:
		return metav1.DeletePropagationBackground
	case o.PropagationPolicy != nil:
		return *o.PropagationPolicy
	case slices.Contains(have, metav1.FinalizerOrphanDependents):
		return metav1.DeletePropagationOrphan
	case slices.Contains(have, metav1.FinalizerDeleteDependents):
		return metav1.DeletePropagationForeground
	}
	return r.DefaultPropagation
}

func ptr[T any](v T) *T { return &v }
