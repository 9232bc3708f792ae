// Package always refuses everything, for those who want to see what happens then.
package always

import (
	"context"
	"errors"

	"clipper/apiserver/admission"
)

// Deny is the admission plug-in AlwaysDeny.
type Deny struct{}

var errDenied = errors.New("admission control is denying all modifications")

// Admit refuses.
func (Deny) Admit(_ context.Context, a *admission.Attributes) error { return a.Forbidden(errDenied) }

// Validate refuses.
func (Deny) Validate(_ context.Context, a *admission.Attributes) error { return a.Forbidden(errDenied) }
