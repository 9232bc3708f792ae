package certificates

import (
	"crypto/x509"
	"encoding/pem"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/client-go/util/certificate/csr"

	"clipper/api"
)

// What the process counts about certificates whose life was asked for, under upstream's names.
var (
	asked = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "apiserver_certificates_registry_csr_requested_duration_total",
		Help: "Total number of issued CSRs with a requested duration, sliced by signer (only kubernetes.io signer names are specifically identified)",
	}, []string{"signerName"})
	honored = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "apiserver_certificates_registry_csr_honored_duration_total",
		Help: "Total number of issued CSRs with a requested duration that was honored, sliced by signer (only kubernetes.io signer names are specifically identified)",
	}, []string{"signerName"})
)

// Collectors are what the process counts about certificate signing requests.
func Collectors() []prometheus.Collector { return []prometheus.Collector{asked, honored} }

// count looks whether a certificate was issued, by whomever, and whether it lasts as long as was asked for.
func count(e api.Event) {
	before, _ := e.Old.(*certificatesv1.CertificateSigningRequest)
	after, _ := e.New.(*certificatesv1.CertificateSigningRequest)
	if before == nil || after == nil || len(before.Status.Certificate) > 0 || len(after.Status.Certificate) == 0 || before.Spec.ExpirationSeconds == nil {
		return
	}
	signer := before.Spec.SignerName
	if !strings.HasPrefix(signer, "kubernetes.io/") {
		signer = "other"
	}
	asked.WithLabelValues(signer).Inc()
	block, _ := pem.Decode(after.Status.Certificate)
	if block == nil {
		return
	}
	if c, err := x509.ParseCertificate(block.Bytes); err == nil && lasts(c, csr.ExpirationSecondsToDuration(*before.Spec.ExpirationSeconds)) {
		honored.WithLabelValues(signer).Inc()
	}
}

// lasts allows for what signers add for clocks that are late, and for a twentieth of the life.
func lasts(c *x509.Certificate, wanted time.Duration) bool {
	return (wanted - c.NotAfter.Sub(c.NotBefore)).Abs() < 5*time.Minute+wanted/20
}
