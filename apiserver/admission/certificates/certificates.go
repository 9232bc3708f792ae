// Package certificates holds the plug-ins for certificate signing requests: only those may approve and sign
// who have the permission for the request's signer, and nobody gets a certificate of the group of masters.
package certificates

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"clipper/apiserver/admission"
)

const (
	group    = "certificates.k8s.io"
	resource = "certificatesigningrequests"
)

// Approval is the plug-in CertificateApproval.
type Approval struct{ Authorizer authorizer.Authorizer }

// Validate asks for the verb approve on the signer.
func (p Approval) Validate(ctx context.Context, a *admission.Attributes) error {
	if a.Operation != admission.Update || !a.IsSub(group, resource, "approval") {
		return nil
	}
	signer := a.Old.(*certificatesv1.CertificateSigningRequest).Spec.SignerName
	if !may(ctx, p.Authorizer, a.User, "approve", signer) {
		return a.Forbiddenf("user not permitted to approve requests with signerName %q", signer)
	}
	return nil
}

// Signing is the plug-in CertificateSigning.
type Signing struct{ Authorizer authorizer.Authorizer }

// Validate asks for the verb sign on the signer of whoever writes a certificate or a failure.
func (p Signing) Validate(ctx context.Context, a *admission.Attributes) error {
	if a.Operation != admission.Update || !a.IsSub(group, resource, "status") {
		return nil
	}
	csr, old := a.Object.(*certificatesv1.CertificateSigningRequest), a.Old.(*certificatesv1.CertificateSigningRequest)
	if bytes.Equal(csr.Status.Certificate, old.Status.Certificate) && equality.Semantic.DeepEqual(csr.Status.Conditions, old.Status.Conditions) {
		return nil
	}
	signer := old.Spec.SignerName
	if !may(ctx, p.Authorizer, a.User, "sign", signer) {
		return a.Forbiddenf("user not permitted to sign requests with signerName %q", signer)
	}
	return nil
}

// may asks for verb on the signer itself, then on all signers of its domain.
func may(ctx context.Context, az authorizer.Authorizer, u user.Info, verb, signer string) bool {
	if u == nil {
		return true // the server's own parts
	}
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		d, _, _ := az.Authorize(ctx, authorizer.AttributesRecord{User: u, Verb: verb, APIGroup: group, APIVersion: "*",
			Resource: "signers", Name: name, ResourceRequest: true})
		if d == authorizer.DecisionAllow {
			return true
		}
	}
	return false
}

// Subject is the plug-in CertificateSubjectRestriction.
type Subject struct{}

// Validate refuses client certificates for the group that may do everything.
func (Subject) Validate(_ context.Context, a *admission.Attributes) error {
	if a.Operation != admission.Create || !a.Is(group, resource) {
		return nil
	}
	csr, ok := a.Object.(*certificatesv1.CertificateSigningRequest)
	if !ok || csr.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
		return nil
	}
	req, err := ParseRequest(csr.Spec.Request)
	if err != nil {
		return a.Forbiddenf("failed to parse CSR: %w", err)
	}
	if slices.Contains(req.Subject.Organization, user.SystemPrivilegedGroup) {
		return a.Forbiddenf("use of %s signer with %s group is not allowed", certificatesv1.KubeAPIServerClientSignerName, user.SystemPrivilegedGroup)
	}
	return nil
}

// ParseRequest reads the PEM form of a certificate request.
func ParseRequest(data []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}
