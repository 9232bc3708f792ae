package certificates

import (
	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"clipper/api"
	"clipper/catalogue"
)

// certificateSigningRequests describes CertificateSigningRequest.
func certificateSigningRequests() *catalogue.Resource {
	return catalogue.Describe[certificatesv1.CertificateSigningRequest, certificatesv1.CertificateSigningRequestList](catalogue.Kind[*certificatesv1.CertificateSigningRequest]{
		Resource:   api.Resource{Group: "certificates.k8s.io", Version: "v1", Name: "certificatesigningrequests", Kind: "CertificateSigningRequest"},
		ShortNames: []string{"csr"},
		Spec: catalogue.PartOf(func(o *certificatesv1.CertificateSigningRequest) *certificatesv1.CertificateSigningRequestSpec {
			return &o.Spec
		}),
		Status: catalogue.PartOf(func(o *certificatesv1.CertificateSigningRequest) *certificatesv1.CertificateSigningRequestStatus {
			return &o.Status
		}),
		Fields: map[string]func(*certificatesv1.CertificateSigningRequest) string{
			"spec.signerName": func(o *certificatesv1.CertificateSigningRequest) string { return o.Spec.SignerName },
		},
		Subresources: []catalogue.Subresource{{
			Name: "approval", Kind: "CertificateSigningRequest", Verbs: []string{"get", "patch", "update"},
			New: func() runtime.Object { return new(certificatesv1.CertificateSigningRequest) },
		}},
	})
}
