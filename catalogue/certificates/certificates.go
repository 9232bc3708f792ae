// Package certificates describes CertificateSigningRequest of certificates.k8s.io/v1.
package certificates

import (
	"clipper/catalogue"
)

// Resources describes the kinds of the group.
func Resources() []*catalogue.Resource {
	return []*catalogue.Resource{
		certificateSigningRequests(),
	}
}
