package standin

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Hooks are what a test plugs into upstream's process. Here the server asks for it by webhook.
type Hooks struct {
	Authenticator authenticator.Request // nil: none
	Authorizer    authorizer.Authorizer // nil: none
	AnyAudience   bool                  // the authenticator is not to know which audiences the server has
}

// consulted is the key of a context in which Rest notes that it was asked.
type consulted struct{}

// Rest stands for the authorizers that the server has without the hook: where it is asked, the server goes on to them.
var Rest authorizer.Authorizer = authorizer.AuthorizerFunc(func(ctx context.Context, _ authorizer.Attributes) (authorizer.Decision, string, error) {
	if asked, ok := ctx.Value(consulted{}).(*bool); ok {
		*asked = true
	}
	return authorizer.DecisionNoOpinion, "", nil
})

// Serve answers for the hooks until stop is called. The flags have a server, whose own modes of authorization are
// modes, ask here. Files are written into dir.
func (h *Hooks) Serve(dir string, modes string) (flags []Flag, stop func(), err error) {
	server := httptest.NewTLSServer(http.HandlerFunc(h.answer))
	if h.Authenticator != nil {
		file := filepath.Join(dir, "authenticator.kubeconfig")
		err = writeKubeconfig(file, server, "/authenticate")
		flags = append(flags, Flag{"authentication-token-webhook-config-file", file}, Flag{"authentication-token-webhook-version", "v1"},
			Flag{"authentication-token-webhook-cache-ttl", "0s"})
	}
	if h.Authorizer != nil && err == nil {
		file := filepath.Join(dir, "authorizer.kubeconfig")
		err = writeKubeconfig(file, server, "/authorize")
		if !h.asksTheRest() {
			modes = ""
		}
		flags = append(flags, Flag{"authorization-mode", strings.TrimSuffix("Webhook,"+modes, ",")}, Flag{"authorization-webhook-config-file", file}, Flag{"authorization-webhook-version", "v1"},
			Flag{"authorization-webhook-cache-authorized-ttl", "0s"}, Flag{"authorization-webhook-cache-unauthorized-ttl", "0s"})
	}
	if err != nil {
		server.Close()
		return nil, nil, err
	}
	return flags, server.Close, nil
}

func writeKubeconfig(file string, server *httptest.Server, path string) error {
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"tests": {Server: server.URL + path, CertificateAuthorityData: authority}},
		Contexts:       map[string]*clientcmdapi.Context{"tests": {Cluster: "tests"}},
		CurrentContext: "tests",
	}, file)
}

func (h *Hooks) answer(w http.ResponseWriter, r *http.Request) {
	var review any
	var err error
	switch r.URL.Path {
	case "/authenticate":
		tokens := &authenticationv1.TokenReview{}
		if err = json.NewDecoder(r.Body).Decode(tokens); err == nil {
			tokens.Status = h.authenticate(r.Context(), tokens.Spec)
		}
		review = tokens
	default:
		access := &authorizationv1.SubjectAccessReview{}
		if err = json.NewDecoder(r.Body).Decode(access); err == nil {
			access.Status = h.authorize(r.Context(), &access.Spec)
		}
		review = access
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review) // a server that has gone needs no answer
}

func (h *Hooks) authenticate(ctx context.Context, spec authenticationv1.TokenReviewSpec) authenticationv1.TokenReviewStatus {
	if !h.AnyAudience {
		ctx = authenticator.WithAudiences(ctx, spec.Audiences)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://tests/", nil)
	if err != nil {
		return authenticationv1.TokenReviewStatus{Error: err.Error()}
	}
	r.Header.Set("Authorization", "Bearer "+spec.Token)
	response, ok, err := h.Authenticator.AuthenticateRequest(r)
	if err != nil || !ok {
		status := authenticationv1.TokenReviewStatus{}
		if err != nil {
			status.Error = err.Error()
		}
		return status
	}
	u := authenticationv1.UserInfo{Username: response.User.GetName(), UID: response.User.GetUID(), Groups: response.User.GetGroups(), Extra: map[string]authenticationv1.ExtraValue{}}
	for key, values := range response.User.GetExtra() {
		u.Extra[key] = values
	}
	return authenticationv1.TokenReviewStatus{Authenticated: true, User: u, Audiences: spec.Audiences}
}

func (h *Hooks) authorize(ctx context.Context, spec *authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus {
	decision, reason, err := h.Authorizer.Authorize(ctx, attributes(spec))
	status := authorizationv1.SubjectAccessReviewStatus{Reason: reason, Allowed: decision == authorizer.DecisionAllow, Denied: decision == authorizer.DecisionDeny}
	if err != nil {
		status.EvaluationError = err.Error()
	}
	return status
}

// asksTheRest says whether Rest is a part of the test's authorizer.
func (h *Hooks) asksTheRest() (asked bool) {
	_, _, _ = h.Authorizer.Authorize(context.WithValue(context.Background(), consulted{}, &asked), // what it says of nobody does not matter
		&authorizer.AttributesRecord{User: &user.DefaultInfo{Name: "nobody"}, Verb: "get", Path: "/nothing"})
	return asked
}

// attributes are what a review asks about.
func attributes(spec *authorizationv1.SubjectAccessReviewSpec) authorizer.Attributes {
	u := &user.DefaultInfo{Name: spec.User, UID: spec.UID, Groups: spec.Groups, Extra: map[string][]string{}}
	for key, values := range spec.Extra {
		u.Extra[key] = values
	}
	if n := spec.NonResourceAttributes; n != nil {
		return &authorizer.AttributesRecord{User: u, Path: n.Path, Verb: n.Verb}
	}
	r := spec.ResourceAttributes
	return &authorizer.AttributesRecord{User: u, ResourceRequest: true, Verb: r.Verb, Namespace: r.Namespace,
		APIGroup: r.Group, APIVersion: r.Version, Resource: r.Resource, Subresource: r.Subresource, Name: r.Name}
}
