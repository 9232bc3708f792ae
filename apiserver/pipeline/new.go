package pipeline

import (
	"cmp"
	"context"
	"errors"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/apiserver/admission"
	"clipper/apiserver/pipeline/ownership"
	"clipper/apiserver/served"
	"clipper/store"
	"clipper/store/log"
)

// Config is what a Pipeline is made of.
type Config struct {
	Store  Store
	Served *served.Live
	// TypeConverter knows the schemas that managedFields are computed from. Nil deduces them from the
	// objects, which treats every list as atomic.
	TypeConverter managedfields.TypeConverter
	// DeleteWorkers is how many objects of a collection are deleted at a time; 0: DefaultDeleteWorkers.
	DeleteWorkers int
	// WatchCache is about resources of which any state will do.
	WatchCache WatchCache
}

// A Pipeline carries reads and writes through their stages. Set it up with Admit and Handle before use;
// afterwards it is safe for concurrent use.
type Pipeline struct {
	store     Store
	served    *served.Live
	types     managedfields.TypeConverter
	admission *admission.Chain
	creaters  map[schema.GroupResource]Creater
	followers map[schema.GroupResource]Follower
	owners    ownership.Managers
	managers  sync.Map // managerKey → *ownership.Manager
	scales    scales

	deleteWorkers int
	cache         WatchCache
}

var _ Door = (*Pipeline)(nil)

// New returns a Pipeline without admission plug-ins that knows the built-in subresources.
func New(c Config) *Pipeline {
	p := &Pipeline{
		store:  c.Store,
		served: c.Served,
		types:  c.TypeConverter,

		deleteWorkers: max(cmp.Or(c.DeleteWorkers, DefaultDeleteWorkers), 1),
		cache:         c.WatchCache,
	}
	if p.types == nil {
		p.types = managedfields.NewDeducedTypeConverter()
	}
	p.scales.types = p.types
	p.followers = map[schema.GroupResource]Follower{}
	p.creaters = map[schema.GroupResource]Creater{
		{Resource: "pods/binding"}:  p.bindPod,
		{Resource: "bindings"}:      p.bindFromBody,
		{Resource: "pods/eviction"}: p.evict,
	}
	return p
}

// Admit sets the admission plug-ins. Not to be called once requests are served.
func (p *Pipeline) Admit(chain *admission.Chain) { p.admission = chain }

// Handle sets what answers creates of a kind that is never stored, or of a subresource: the resource is
// written "subjectaccessreviews" or "serviceaccounts/token". Not to be called once requests are served.
func (p *Pipeline) Handle(gr schema.GroupResource, c Creater) { p.creaters[gr] = c }

// Follow sets who is told of what becomes of a resource's objects. Not to be called once requests are served.
func (p *Pipeline) Follow(gr schema.GroupResource, f Follower) { p.followers[gr] = f }

// Handles says whether a Creater answers for gr.
func (p *Pipeline) Handles(gr schema.GroupResource) bool { return p.creaters[gr] != nil }

// Table returns the resources that are served now.
func (p *Pipeline) Table() *served.Table { return p.served.Table() }

// creater returns who answers creates of the request's resource and subresource, or nil.
func (p *Pipeline) creater(req *Request) Creater {
	name := req.Resource.Name
	if req.Subresource != "" {
		name += "/" + req.Subresource
	}
	return p.creaters[schema.GroupResource{Group: req.Resource.Group, Resource: name}]
}

// A write is one request's way through the stages that change something.
type write struct {
	p       *Pipeline
	req     *Request
	manager string
	dryRun  bool
	apply   bool           // server-side
	options runtime.Object // of the request; nil for parts of another write
	undo    []func()
}

func (p *Pipeline) begin(req *Request, dryRun []string, manager string) *write {
	if manager == "" {
		manager = req.Manager
	}
	return &write{p: p, req: req, manager: manager, dryRun: len(dryRun) > 0}
}

// end undoes what admission did outside of the object unless the write was committed for good.
func (w *write) end(err error) {
	if err != nil || w.dryRun {
		w.rollback()
	}
	w.undo = nil
}

func (w *write) rollback() {
	for i := len(w.undo) - 1; i >= 0; i-- {
		w.undo[i]()
	}
	w.undo = nil
}

func (w *write) warn(text string) {
	if w.req.Warn != nil {
		w.req.Warn(text)
	}
}

func (w *write) attributes(op admission.Operation, obj, old api.Object) *admission.Attributes {
	name := w.req.Name
	switch {
	case w.req.Unnamed:
		name = ""
	case name == "" && obj != nil:
		name = obj.GetName()
	}
	requested := w.req.Kind
	if requested == nil {
		requested = w.p.served.Table().Storage(w.req.Resource)
	}
	return &admission.Attributes{
		Operation:   op,
		Resource:    w.req.Resource.Resource,
		Requested:   requested,
		Subresource: w.req.Subresource,
		Namespace:   w.req.Namespace,
		Name:        name,
		Object:      obj,
		Old:         old,
		Options:     w.options,
		User:        w.req.User,
		DryRun:      w.dryRun,
		Warn:        w.warn,
		Undo:        func(fn func()) { w.undo = append(w.undo, fn) },
	}
}

// examine returns the faults that only the chain can see.
func (w *write) examine(ctx context.Context, op admission.Operation, obj, old api.Object) field.ErrorList {
	if e := w.p.admission.Examiner(w.req.Resource.Resource); e != nil {
		return e.Faults(ctx, w.attributes(op, obj, old))
	}
	return nil
}

func (w *write) validate(ctx context.Context, op admission.Operation, obj, old api.Object) error {
	if w.p.admission == nil || w.req.Admitted {
		return nil
	}
	return w.p.admission.Validate(ctx, w.attributes(op, obj, old))
}

// Connect runs admission for a request that opens a stream (exec, attach, portforward, proxy).
func (p *Pipeline) Connect(ctx context.Context, req *Request, options api.Object) error {
	w := p.begin(req, nil, "")
	if err := w.mutate(ctx, admission.Connect, options, nil); err != nil {
		return err
	}
	return w.validate(ctx, admission.Connect, options, nil)
}

// commit writes an object that is the caller's alone. One that is too large for the store is written without its
// managedFields, which can be as large as the rest; an apply is nothing without them, and fails.
func (w *write) commit(ctx context.Context, c store.Write) (*store.Item, error) {
	item, err := w.p.store.Commit(ctx, c)
	if err == nil || w.apply {
		return item, err
	}
	if fault := (*log.FaultError)(nil); !errors.As(err, &fault) || !fault.TooLarge {
		return item, err
	}
	c.Object.SetManagedFields(nil)
	return w.p.store.Commit(ctx, c)
}

// committed tells who follows the resource that old has become next.
func (w *write) committed(ctx context.Context, old, next api.Object) {
	if f := w.p.followers[w.req.Resource.GroupResource()]; f != nil {
		f(ctx, old, next)
	}
}

// clearKind empties an object's kind and version: stored objects carry none, as their Go type says it all.
// Custom resources keep theirs, for it is part of their content.
func clearKind(obj runtime.Object) {
	if _, ok := obj.(runtime.Unstructured); !ok {
		obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	}
}
