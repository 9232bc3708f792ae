package daemon

import (
	"context"
	"crypto/x509"
	"net/http"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
)

var (
	tokenReviews         = api.Resource{Group: "authentication.k8s.io", Version: "v1", Name: "tokenreviews", Kind: "TokenReview"}
	subjectAccessReviews = api.Resource{Group: "authorization.k8s.io", Version: "v1", Name: "subjectaccessreviews", Kind: "SubjectAccessReview"}
)

// A kubeletGuard decides who may use a node's own HTTPS server, by asking the API server, as kubelet's
// webhook modes do: certificates of the cluster's authority and bearer tokens are known, everyone else is
// turned away.
type kubeletGuard struct {
	client    api.Client
	node      string
	clientCAs *x509.CertPool
}

// reviewTimeout bounds what one request may wait for its caller's review.
const reviewTimeout = 10 * time.Second

func (g *kubeletGuard) authorize(r *http.Request, verb, subresource string) error {
	ctx, cancel := context.WithTimeout(r.Context(), reviewTimeout)
	defer cancel()
	spec, err := g.identify(ctx, r)
	if err != nil {
		return err
	}
	spec.ResourceAttributes = &authorizationv1.ResourceAttributes{Verb: verb, Version: "v1", Resource: "nodes", Subresource: subresource, Name: g.node}
	answer, err := g.client.Create(ctx, subjectAccessReviews, &authorizationv1.SubjectAccessReview{Spec: *spec}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if status := answer.(*authorizationv1.SubjectAccessReview).Status; !status.Allowed {
		return apierrors.NewForbidden(api.Nodes.GroupResource(), g.node, errNotAllowed(spec.User, verb, subresource, status.Reason))
	}
	return nil
}

// identify returns the caller's name and groups in the form of a review.
func (g *kubeletGuard) identify(ctx context.Context, r *http.Request) (*authorizationv1.SubjectAccessReviewSpec, error) {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		chain := r.TLS.PeerCertificates
		between := x509.NewCertPool()
		for _, c := range chain[1:] {
			between.AddCert(c)
		}
		opts := x509.VerifyOptions{Roots: g.clientCAs, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		if _, err := chain[0].Verify(opts); err != nil {
			return nil, apierrors.NewUnauthorized("client certificate: " + err.Error())
		}
		return &authorizationv1.SubjectAccessReviewSpec{User: chain[0].Subject.CommonName, Groups: append(chain[0].Subject.Organization, "system:authenticated")}, nil
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nil, apierrors.NewUnauthorized("Unauthorized")
	}
	answer, err := g.client.Create(ctx, tokenReviews, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	status := answer.(*authenticationv1.TokenReview).Status
	if !status.Authenticated {
		return nil, apierrors.NewUnauthorized("Unauthorized")
	}
	spec := &authorizationv1.SubjectAccessReviewSpec{User: status.User.Username, UID: status.User.UID, Groups: status.User.Groups}
	for key, values := range status.User.Extra {
		if spec.Extra == nil {
			spec.Extra = map[string]authorizationv1.ExtraValue{}
		}
		spec.Extra[key] = authorizationv1.ExtraValue(values)
	}
	return spec, nil
}

// errNotAllowed is the cause in a refusal, in upstream's words.
func errNotAllowed(user, verb, subresource, reason string) error {
	text := "Forbidden (user=" + user + ", verb=" + verb + ", resource=nodes, subresource=" + subresource + ")"
	if reason != "" {
		text += ": " + reason
	}
	return refusal(text)
}

type refusal string

func (r refusal) Error() string { return string(r) }
