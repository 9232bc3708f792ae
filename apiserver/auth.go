package apiserver

import (
	"context"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	if s := q.query().Get("fieldSelector"); s != "" {
		sel, err := fields.ParseSelector(s)
		if err != nil {
			a.FieldSelectorParsingErr = err
		} else {
			a.FieldSelectorRequirements = sel.Requirements()
			if name, ok := sel.RequiresExactMatch("metadata.name"); ok && a.Name == "" && !strings.ContainsAny(name, "/%") {
				a.Name = name
			}
		}
	}
	if s := q.query().Get("labelSelector"); s != "" {
		sel, err := labels.Parse(s)
		if err != nil {
			a.LabelSelectorParsingErr = err
		} else {
			a.LabelSelectorRequirements, _ = sel.Requirements()
		}
	}
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
