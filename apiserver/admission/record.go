package admission

import (
	"context"
	"reflect"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	upstream "k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/kubernetes/scheme"

	"clipper/api"
)

// Record is the write as k8s.io/apiserver's admission code knows it. It is made when somebody asks, and
// then stays the same: it collects audit annotations and remembers who wants to see the object again. Its
// objects are those of the Attributes themselves. Such of a Go type lose their kind and version: they are of
// the storage version now, whatever the client has sent.
func (a *Attributes) Record() upstream.Attributes {
	if a.record == nil {
		if _, untyped := a.Object.(runtime.Unstructured); !untyped && a.Object != nil {
			a.Object.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
		}
		gvr, namespace, name := a.requestedResource(), a.Namespace, a.Name
		if name == "" && a.Object != nil {
			name = a.Object.GetName()
		}
		if namespace == "" && a.Resource == api.Namespaces.Resource {
			namespace = name // upstream counts a namespace as part of itself
		}
		a.record = upstream.NewAttributesRecord(object(a.Object), object(a.Old), a.kind(), namespace, name, gvr, a.Subresource,
			upstream.Operation(a.Operation), optionsOf(a.Operation, a.Options), a.DryRun, a.User)
	}
	return a.record
}

// object keeps a nil object a nil interface.
func object(o api.Object) runtime.Object {
	if o == nil {
		return nil
	}
	return o
}

func (a *Attributes) requestedResource() schema.GroupVersionResource {
	if a.Requested != nil {
		return a.Requested.GVR
	}
	return a.Resource.GVR()
}

// kind is that of the object in the version asked for. Subresources such as binding have one of their own.
func (a *Attributes) kind() schema.GroupVersionKind {
	requested := a.Resource.GVK()
	if a.Requested != nil {
		requested = a.Requested.GVK
	}
	switch o := a.Object.(type) {
	case nil:
		return requested
	case *unstructured.Unstructured: // a custom resource, or what is asked of a stream
		if own := o.GroupVersionKind(); own.GroupKind() != requested.GroupKind() {
			return own
		}
		return requested
	}
	if a.Subresource == "" || a.Requested != nil && reflect.TypeOf(a.Object) == reflect.TypeOf(a.Requested.New()) {
		return requested
	}
	kinds, _, err := scheme.Scheme.ObjectKinds(a.Object)
	if err != nil || len(kinds) == 0 {
		return requested
	}
	return kinds[0]
}

// annotate passes the annotations that plug-ins made on to the audit event of the request, if it has one.
func (a *Attributes) annotate(ctx context.Context) {
	if a.record != nil {
		_ = annotator.Validate(ctx, a.record, nil) // the wrapped plug-in never fails
	}
}

// annotator is upstream's decorator, the only one that may read annotations, around nothing.
var annotator = upstream.WithAudit(silent{}).(upstream.ValidationInterface)

type silent struct{}

func (silent) Handles(upstream.Operation) bool { return true }
func (silent) Validate(context.Context, upstream.Attributes, upstream.ObjectInterfaces) error {
	return nil
}
