// Package admission defines what an admission plug-in is: a check on a write that is already
// authenticated and authorized, which may change the object (Mutator) or refuse it (Validator). A Chain
// runs them in order. The built-in plug-ins are in the packages below.
package admission

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	upstream "k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"

	"clipper/api"
	"clipper/apiserver/served"
)

// An Operation is the kind of request under admission, in upstream's words.
type Operation string

// The operations.
const (
	Create  Operation = "CREATE"
	Update  Operation = "UPDATE"
	Delete  Operation = "DELETE"
	Connect Operation = "CONNECT"
)

// Attributes is one write on its way to the store.
type Attributes struct {
	Operation   Operation
	Resource    api.Resource
	Requested   *served.Kind // the version that the client speaks; nil is the storage version
	Subresource string       // "" for the object itself
	Namespace   string
	Name        string         // "" on a create with generateName, until the name is made
	Object      api.Object     // the new state; nil on delete. A Mutator may change it. For binding and such: the body.
	Old         api.Object     // the stored state, read-only; nil on create
	Options     runtime.Object // of the request, as the client gave them; nil for none
	User        user.Info
	DryRun      bool
	Warn        func(text string) // adds a Warning header; never nil
	Undo        func(fn func())   // registers what to undo if the request fails after all or is a dry run; never nil

	record upstream.Attributes
}

// A Mutator may change Attributes.Object or refuse the request with an API error (403 Forbidden as a rule).
type Mutator interface {
	Admit(ctx context.Context, a *Attributes) error
}

// An Examiner finds what is wrong with objects of one resource because of who writes them, or of what else there is: with
// what validation finds, and before it, clients read that as one answer.
type Examiner interface {
	Examines() api.Resource
	Faults(ctx context.Context, a *Attributes) field.ErrorList
}

// A Validator may refuse a request; it runs after all Mutators and after validation, inside the commit
// loop, so it sees the state that will be replaced.
type Validator interface {
	Validate(ctx context.Context, a *Attributes) error
}
