// Package impersonation decides whether a user may act as another for one request. There are five ways: four
// constrained ones, which ask both whether he may act so (impersonate:<mode>) and whether he may do this while he does
// (impersonate-on:<mode>:<verb>), and the old one, which asks only for the former and for everything at once.
package impersonation

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/features"

	"clipper/apiserver/feature"
)

// Wanted returns whom the headers of a request name, nil for nobody, and takes the headers away: nothing behind this
// point shall behave differently for them.
func Wanted(h http.Header) (*user.DefaultInfo, error) {
	u := &user.DefaultInfo{
		Name:   h.Get(authenticationv1.ImpersonateUserHeader),
		UID:    h.Get(authenticationv1.ImpersonateUIDHeader),
		Groups: slices.Clone(h[authenticationv1.ImpersonateGroupHeader]),
	}
	more := u.UID != "" || len(u.Groups) > 0
	for name, values := range h {
		if !strings.HasPrefix(name, authenticationv1.ImpersonateUserExtraHeaderPrefix) {
			continue
		}
		more = true
		if len(values) > 0 {
			addExtra(u, strings.ToLower(name[len(authenticationv1.ImpersonateUserExtraHeaderPrefix):]), values)
		}
	}
	switch {
	case u.Name == "" && more:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("requested %#v without impersonating a user name", u))
	case u.Name == "":
		return nil, nil
	}
	clearHeaders(h)
	return u, nil
}

func addExtra(u *user.DefaultInfo, key string, values []string) {
	if plain, err := url.PathUnescape(key); err == nil {
		key = plain
	}
	if u.Extra == nil {
		u.Extra = map[string][]string{}
	}
	u.Extra[key] = append(u.Extra[key], values...)
}

func clearHeaders(h http.Header) {
	h.Del(authenticationv1.ImpersonateUserHeader)
	h.Del(authenticationv1.ImpersonateUIDHeader)
	h.Del(authenticationv1.ImpersonateGroupHeader)
	for name := range h {
		if strings.HasPrefix(name, authenticationv1.ImpersonateUserExtraHeaderPrefix) {
			delete(h, name)
		}
	}
}

// A Judge decides about impersonations.
type Judge struct {
	authorizer authorizer.Authorizer
	forbidden  func(a authorizer.Attributes, reason string) error
	last       lastModes
	oldOnly    bool // the constrained modes are switched off
}

// NewJudge returns a Judge that asks a. forbidden words its refusals.
func NewJudge(a authorizer.Authorizer, forbidden func(a authorizer.Attributes, reason string) error) *Judge {
	return &Judge{authorizer: a, forbidden: forbidden, oldOnly: !feature.Enabled(features.ConstrainedImpersonation)}
}

// As returns the user that the requestor of a becomes, and the verb that allowed it (empty for the old way), which the
// audit log names. The way that worked for a requestor last is tried first, as most use only one.
func (j *Judge) As(ctx context.Context, wanted *user.DefaultInfo, a authorizer.Attributes) (u user.Info, constraint string, err error) {
	requestor := a.GetUser().GetName()
	before, known := j.last.get(requestor)
	var first error
	try := func(m *mode) bool {
		if j.oldOnly && m.name != "" || !m.applies(wanted, a.GetUser()) {
			return false
		}
		var refusal error
		if u, refusal = j.check(ctx, m, wanted, a); refusal == nil {
			constraint = m.constraint()
			return true
		}
		if first == nil {
			first = refusal
		}
		return false
	}
	if known && try(&modes[before]) {
		return u, constraint, nil
	}
	for i := range modes {
		if known && i == before {
			continue
		}
		if try(&modes[i]) {
			j.last.set(requestor, i)
			return u, constraint, nil
		}
	}
	return nil, "", first // the old way always applies, so there is one
}
