package certificates

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
)

const (
	nodesGroup = "system:nodes"
	nodePrefix = "system:node:"
)

// A rule says what a signer signs; the error becomes the request's condition Failed.
type rule func(req *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error

// signers are the four that belong to every cluster.
var signers = map[string]rule{
	certificatesv1.KubeAPIServerClientSignerName:        clientRule,
	certificatesv1.KubeAPIServerClientKubeletSignerName: kubeletClientRule,
	certificatesv1.KubeletServingSignerName:             kubeletServingRule,
	"kubernetes.io/legacy-unknown":                      func(*x509.CertificateRequest, []certificatesv1.KeyUsage) error { return nil },
}

// usagesAllowed wants all of required and nothing beyond required and optional.
func usagesAllowed(have []certificatesv1.KeyUsage, required certificatesv1.KeyUsage) bool {
	for _, u := range have {
		if u != required && u != certificatesv1.UsageDigitalSignature && u != certificatesv1.UsageKeyEncipherment {
			return false
		}
	}
	return slices.Contains(have, required)
}

func clientRule(_ *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	if !usagesAllowed(usages, certificatesv1.UsageClientAuth) {
		return fmt.Errorf("invalid usages for client certificate: %v", usages)
	}
	return nil
}

// kubeletClientRule knows only the form of a node's own client certificate.
func kubeletClientRule(req *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	switch {
	case !slices.Equal(req.Subject.Organization, []string{nodesGroup}):
		return errors.New("subject organization is not system:nodes")
	case len(req.DNSNames) > 0:
		return errors.New("DNS subjectAltNames are not allowed")
	case len(req.EmailAddresses) > 0:
		return errors.New("Email subjectAltNames are not allowed")
	case len(req.IPAddresses) > 0:
		return errors.New("IP subjectAltNames are not allowed")
	case len(req.URIs) > 0:
		return errors.New("URI subjectAltNames are not allowed")
	case !strings.HasPrefix(req.Subject.CommonName, nodePrefix):
		return errors.New("subject common name does not begin with system:node:")
	case !usagesAllowed(usages, certificatesv1.UsageClientAuth):
		return errors.New("usages did not match [key encipherment digital signature client auth]")
	}
	return nil
}

func kubeletServingRule(req *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	switch {
	case !slices.Equal(req.Subject.Organization, []string{nodesGroup}):
		return errors.New("subject organization is not system:nodes")
	case len(req.DNSNames) == 0 && len(req.IPAddresses) == 0:
		return errors.New("at least one DNS or IP subjectAltName is required")
	case len(req.EmailAddresses) > 0:
		return errors.New("Email subjectAltNames are not allowed")
	case len(req.URIs) > 0:
		return errors.New("URI subjectAltNames are not allowed")
	case !strings.HasPrefix(req.Subject.CommonName, nodePrefix):
		return errors.New("subject common name does not begin with system:node:")
	case !usagesAllowed(usages, certificatesv1.UsageServerAuth):
		return errors.New("usages did not match [key encipherment digital signature server auth]")
	}
	return nil
}

var keyUsages = map[certificatesv1.KeyUsage]x509.KeyUsage{
	certificatesv1.UsageSigning:           x509.KeyUsageDigitalSignature,
	certificatesv1.UsageDigitalSignature:  x509.KeyUsageDigitalSignature,
	certificatesv1.UsageContentCommitment: x509.KeyUsageContentCommitment,
	certificatesv1.UsageKeyEncipherment:   x509.KeyUsageKeyEncipherment,
	certificatesv1.UsageKeyAgreement:      x509.KeyUsageKeyAgreement,
	certificatesv1.UsageDataEncipherment:  x509.KeyUsageDataEncipherment,
	certificatesv1.UsageCertSign:          x509.KeyUsageCertSign,
	certificatesv1.UsageCRLSign:           x509.KeyUsageCRLSign,
	certificatesv1.UsageEncipherOnly:      x509.KeyUsageEncipherOnly,
	certificatesv1.UsageDecipherOnly:      x509.KeyUsageDecipherOnly,
}

var extUsages = map[certificatesv1.KeyUsage]x509.ExtKeyUsage{
	certificatesv1.UsageAny:             x509.ExtKeyUsageAny,
	certificatesv1.UsageServerAuth:      x509.ExtKeyUsageServerAuth,
	certificatesv1.UsageClientAuth:      x509.ExtKeyUsageClientAuth,
	certificatesv1.UsageCodeSigning:     x509.ExtKeyUsageCodeSigning,
	certificatesv1.UsageEmailProtection: x509.ExtKeyUsageEmailProtection,
	certificatesv1.UsageSMIME:           x509.ExtKeyUsageEmailProtection,
	certificatesv1.UsageIPsecEndSystem:  x509.ExtKeyUsageIPSECEndSystem,
	certificatesv1.UsageIPsecTunnel:     x509.ExtKeyUsageIPSECTunnel,
	certificatesv1.UsageIPsecUser:       x509.ExtKeyUsageIPSECUser,
	certificatesv1.UsageTimestamping:    x509.ExtKeyUsageTimeStamping,
	certificatesv1.UsageOCSPSigning:     x509.ExtKeyUsageOCSPSigning,
	certificatesv1.UsageMicrosoftSGC:    x509.ExtKeyUsageMicrosoftServerGatedCrypto,
	certificatesv1.UsageNetscapeSGC:     x509.ExtKeyUsageNetscapeServerGatedCrypto,
}

// usagesOf translates what a request asks for. A certificate that could sign others is never among it.
func usagesOf(in []certificatesv1.KeyUsage) (usage x509.KeyUsage, ext []x509.ExtKeyUsage, err error) {
	for _, u := range in {
		if k, ok := keyUsages[u]; ok {
			usage |= k
		} else if e, ok := extUsages[u]; ok {
			ext = append(ext, e)
		} else {
			return 0, nil, fmt.Errorf("unrecognized usage values: [%q]", u)
		}
	}
	return usage &^ (x509.KeyUsageCertSign | x509.KeyUsageCRLSign), ext, nil
}
