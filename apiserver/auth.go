package apiserver

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// authenticate finds out who asks; the answer is a 401 if nobody can tell.
func (q *request) authenticate() error {
	if q.s.authn == nil {
		return unauthorized()
	}
	response, ok, err := q.s.authn.AuthenticateRequest(q.r)
	if err != nil || !ok {
		if err != nil {
			q.s.log.Debug("request not authenticated", "path", q.info.Path, "err", err)
		}
		return unauthorized()
	}
	q.user = response.User
	q.r.Header.Del("Authorization") // nothing behind this point needs the credential
	if q.r.ProtoMajor == 2 && q.user.GetName() == user.Anonymous {
		// One request per connection for strangers: HTTP/2 is too easy to abuse.
		q.w.Header().Set("Connection", "close")
	}
	return nil
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
	h := q.r.Header
	name, groups := h.Get("Impersonate-User"), h.Values("Impersonate-Group")
	uid := h.Get("Impersonate-Uid")
	extra := impersonatedExtra(h)
	if name == "" && len(groups) == 0 && uid == "" && len(extra) == 0 {
		return nil
	}
	if name == "" {
		return apierrors.NewInternalError(fmt.Errorf("requested %d impersonations without impersonating a user", len(groups)+len(extra)))
	}
	wanted := &user.DefaultInfo{Name: name, UID: uid, Groups: groups, Extra: extra}
	for _, a := range q.impersonations(wanted) {
		a.User, a.Verb, a.ResourceRequest = q.user, "impersonate", true
		if err := q.s.authorize(q.r.Context(), a); err != nil {
			return err
		}
	}
	completeGroups(wanted)
	for key := range h {
		if strings.HasPrefix(key, "Impersonate-") {
			h.Del(key)
		}
	}
	q.user = wanted
	return nil
}

// impersonations lists what must be allowed before anyone may act as u.
func (q *request) impersonations(u *user.DefaultInfo) []*authorizer.AttributesRecord {
	var out []*authorizer.AttributesRecord
	if namespace, name, err := serviceaccount.SplitUsername(u.Name); err == nil {
		out = append(out, &authorizer.AttributesRecord{APIVersion: "v1", Namespace: namespace, Resource: "serviceaccounts", Name: name})
	} else {
		out = append(out, &authorizer.AttributesRecord{APIVersion: "v1", Resource: "users", Name: u.Name})
	}
	for _, g := range u.Groups {
		out = append(out, &authorizer.AttributesRecord{APIVersion: "v1", Resource: "groups", Name: g})
	}
	for key, values := range u.Extra {
		for _, value := range values {
			out = append(out, &authorizer.AttributesRecord{APIGroup: "authentication.k8s.io", APIVersion: "v1", Resource: "userextras", Subresource: key, Name: value})
		}
	}
	if u.UID != "" {
		out = append(out, &authorizer.AttributesRecord{APIGroup: "authentication.k8s.io", APIVersion: "v1", Resource: "uids", Name: u.UID})
	}
	return out
}

// completeGroups adds the groups that an authenticated user of that name would be in.
func completeGroups(u *user.DefaultInfo) {
	if namespace, _, err := serviceaccount.SplitUsername(u.Name); err == nil && len(u.Groups) == 0 {
		u.Groups = serviceaccount.MakeGroupNames(namespace)
	}
	if u.Name == user.Anonymous {
		if len(u.Groups) == 0 {
			u.Groups = []string{user.AllUnauthenticated}
		}
		return
	}
	for _, g := range u.Groups {
		if g == user.AllAuthenticated || g == user.AllUnauthenticated {
			return
		}
	}
	u.Groups = append(u.Groups, user.AllAuthenticated)
}

func impersonatedExtra(h http.Header) map[string][]string {
	const prefix = "Impersonate-Extra-"
	var out map[string][]string
	for key, values := range h {
		if len(key) <= len(prefix) || !strings.EqualFold(key[:len(prefix)], prefix) {
			continue
		}
		name := strings.ToLower(key[len(prefix):])
		if plain, err := url.PathUnescape(name); err == nil {
			name = plain
		}
		if out == nil {
			out = map[string][]string{}
		}
		out[name] = append(out[name], values...)
	}
	return out
}
