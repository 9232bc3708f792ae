package admission

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Is reports whether the write is of resource name in group itself, not of a subresource.
func (a *Attributes) Is(group, name string) bool {
	return a.Subresource == "" && a.Resource.Name == name && a.Resource.Group == group
}

// IsSub reports whether the write is of a subresource of resource name in group.
func (a *Attributes) IsSub(group, name, sub string) bool {
	return a.Subresource == sub && a.Resource.Name == name && a.Resource.Group == group
}

// Forbidden is the 403 with which a plug-in refuses a write, named as upstream names it.
func (a *Attributes) Forbidden(cause error) *apierrors.StatusError {
	return apierrors.NewForbidden(a.requestedResource().GroupResource(), a.shownName(), cause)
}

// Forbiddenf is Forbidden with a formatted cause.
func (a *Attributes) Forbiddenf(format string, args ...any) *apierrors.StatusError {
	return a.Forbidden(fmt.Errorf(format, args...))
}

// shownName is the object's name, or what it will begin with: names are generated after admission.
func (a *Attributes) shownName() string {
	switch {
	case a.Name != "":
		return a.Name
	case a.Object == nil:
		return "Unknown"
	case a.Object.GetName() != "":
		return a.Object.GetName()
	case a.Object.GetGenerateName() != "":
		return a.Object.GetGenerateName()
	}
	return "Unknown"
}
