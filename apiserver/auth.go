package apiserver

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/warning"

	"clipper/apiserver/impersonation"
)

// authenticate finds out who asks; the answer is a 401 if nobody can tell.
func (q *request) authenticate() error {
	if q.s.authn == nil {
		return unauthorized()
	}
	r := q.r
	if r.Header.Get("Authorization") != "" {
		r = r.WithContext(warning.WithWarningRecorder(r.Context(), recorder{q})) // tokens may be outdated
	}
	response, ok, err := q.s.authn.AuthenticateRequest(r)
	if err != nil || !ok {
		if err != nil {
			q.s.log.Debug("request not authenticated", "path", q.info.Path, "err", err)
		}
		return unauthorized()
	}
	q.user = response.User
	q.r.Header.Del("Authorization") // nothing behind this point needs the credential
	if q.user.GetName() == user.Anonymous {
		q.closeToStrangers()
	}
	return nil
}

// closeToStrangers allows one request per connection: HTTP/2 is too easy to abuse.
func (q *request) closeToStrangers() {
	if q.r.ProtoMajor == 2 {
		q.w.Header().Set("Connection", "close")
	}
}

func unauthorized() error { return apierrors.NewUnauthorized("Unauthorized") }

// authorize asks whether a request may go on.
func (s *Server) authorize(ctx context.Context, a authorizer.Attributes) error {
	_, err := s.decide(ctx, a)
	return err
}

// decide is authorize with the reason for what was decided.
func (s *Server) decide(ctx context.Context, a authorizer.Attributes) (reason string, err error) {
	if s.authz == nil {
		return "", forbidden(a, "no authorizer")
	}
	decision, reason, err := s.authz.Authorize(ctx, a)
	switch {
	case decision == authorizer.DecisionAllow: // even where some authorizer had an error
		return reason, nil
	case err != nil:
		return reason, apierrors.NewInternalError(err)
	}
	return reason, forbidden(a, reason)
}

// selectorAttributes tells the authorizer which objects a read is limited to.
func (q *request) selectorAttributes(a *authorizer.AttributesRecord) {
	switch a.Verb {
	case "list", "watch", "deletecollection":
	default:
		return
	}
	if q.info.deprecatedWatch {
		return // its path has a form for one object, which no selector stands in for
	}
	if s := q.query().Get("fieldSelector"); s != "" {
		sel, err := fields.ParseSelector(s)
		if err != nil {
			a.FieldSelectorParsingErr = err
		} else {
			a.FieldSelectorRequirements = someOf(sel.Requirements())
			if a.Name == "" && a.Verb != "deletecollection" {
				a.Name = q.onlyName(sel)
			}
		}
	}
	if s := q.query().Get("labelSelector"); s != "" {
		sel, err := labels.Parse(s)
		if err != nil {
			a.LabelSelectorParsingErr = err
		} else {
			requirements, _ := sel.Requirements()
			a.LabelSelectorRequirements = someOf(requirements)
		}
	}
}

// someOf is list, or nil if nothing is in it: authorizers tell no selector by that.
func someOf[S ~[]E, E any](list S) S {
	if len(list) == 0 {
		return nil
	}
	return list
}

// onlyName is the name of the one object that a field selector is about, "" if there may be others: who may read that
// object may list and watch it alone. Options that cannot be read limit nothing.
func (q *request) onlyName(sel fields.Selector) string {
	name, ok := sel.RequiresExactMatch("metadata.name")
	if !ok || len(content.IsPathSegmentName(name)) > 0 {
		return ""
	}
	var o metav1.ListOptions
	values := q.query()
	if err := metav1.Convert_url_Values_To_v1_ListOptions(&values, &o, nil); err != nil {
		return ""
	}
	if _, err := labels.Parse(o.LabelSelector); err != nil {
		return ""
	}
	return name
}

// impersonate lets a user with the right to do so act as another.
func (q *request) impersonate() error {
	wanted, err := impersonation.Wanted(q.r.Header)
	if err != nil || wanted == nil {
		return err
	}
	if q.s.authz == nil {
		return forbidden(q.attributes(), "no authorizer")
	}
	u, constraint, err := q.s.judge.As(q.r.Context(), wanted, q.attributes())
	if err != nil {
		return err
	}
	q.user, q.constraint = u, constraint
	return nil
}
