package certificates

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/rule"
)

type request = certificatesv1.CertificateSigningRequest

var (
	specPath       = field.NewPath("spec")
	conditionsPath = field.NewPath("status", "conditions")
)

var usages = []certificatesv1.KeyUsage{
	certificatesv1.UsageSigning, certificatesv1.UsageDigitalSignature, certificatesv1.UsageContentCommitment,
	certificatesv1.UsageKeyEncipherment, certificatesv1.UsageKeyAgreement, certificatesv1.UsageDataEncipherment,
	certificatesv1.UsageCertSign, certificatesv1.UsageCRLSign, certificatesv1.UsageEncipherOnly, certificatesv1.UsageDecipherOnly,
	certificatesv1.UsageAny, certificatesv1.UsageServerAuth, certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning,
	certificatesv1.UsageEmailProtection, certificatesv1.UsageSMIME, certificatesv1.UsageIPsecEndSystem, certificatesv1.UsageIPsecTunnel,
	certificatesv1.UsageIPsecUser, certificatesv1.UsageTimestamping, certificatesv1.UsageOCSPSigning, certificatesv1.UsageMicrosoftSGC,
	certificatesv1.UsageNetscapeSGC,
}

func validateCreate(r *request) field.ErrorList {
	f := &rule.Faults{}
	validate(f, r)
	return f.List
}

func validate(f *rule.Faults, r *request) {
	if err := checkRequest(r.Spec.Request); err != nil {
		f.Invalid(specPath.Child("request"), r.Spec.Request, err.Error())
	}
	if len(r.Spec.Usages) == 0 {
		f.Required(specPath.Child("usages"), "")
	}
	for i, u := range r.Spec.Usages {
		rule.OneOf(f, specPath.Child("usages").Index(i), u, usages...)
	}
	seen := rule.Seen[certificatesv1.KeyUsage]{}
	for i, u := range r.Spec.Usages {
		if seen.Again(u) {
			f.Duplicate(specPath.Child("usages").Index(i), u)
		}
	}
	if r.Spec.SignerName == "kubernetes.io/legacy-unknown" {
		f.Invalid(specPath.Child("signerName"), r.Spec.SignerName, "the legacy signerName is not allowed via this API version")
	} else {
		signerName(f, r.Spec.SignerName, specPath.Child("signerName"))
	}
	if s := r.Spec.ExpirationSeconds; s != nil && *s < 600 {
		f.Invalid(specPath.Child("expirationSeconds"), *s, "may not specify a duration less than 600 seconds (10 minutes)")
	}
	conditions(f, r)
	if err := checkCertificate(r.Status.Certificate); err != nil {
		f.Invalid(field.NewPath("status", "certificate"), "<certificate data>", err.Error())
	}
}

// checkRequest asks for one PKCS #10 request that its own key signed.
func checkRequest(data []byte) error {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	r, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return err
	}
	return r.CheckSignature()
}

// checkCertificate asks for nothing but certificates, at least one. None yet is fine.
func checkCertificate(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	blocks := 0
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("only CERTIFICATE PEM blocks are allowed, found %q", block.Type)
		}
		if len(block.Headers) != 0 {
			return errors.New("no PEM block headers are permitted")
		}
		blocks++
		found, err := x509.ParseCertificates(block.Bytes)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return errors.New("found CERTIFICATE PEM block containing 0 certificates")
		}
		data = rest
	}
	if blocks == 0 {
		return errors.New("must contain at least one CERTIFICATE PEM block")
	}
	return nil
}

// signerName asks for a domain and a path below it: "example.com/signer".
func signerName(f *rule.Faults, name string, at *field.Path) {
	if !f.Need(at, name) {
		return
	}
	domain, path, ok := strings.Cut(name, "/")
	if !ok || strings.Contains(path, "/") {
		f.Invalid(at, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")
		return
	}
	segments := func(text string, valid func(string) []string) {
		for _, label := range strings.Split(text, ".") {
			messages := valid(label)
			for _, message := range messages {
				f.Invalid(at, text, fmt.Sprintf("validating label %q: %s", label, message))
			}
			if len(messages) > 0 {
				return
			}
		}
	}
	segments(domain, utilvalidation.IsDNS1123Label)
	if !strings.Contains(domain, ".") {
		f.Invalid(at, domain, "should be a domain with at least two segments separated by dots")
	}
	segments(path, utilvalidation.IsDNS1123Subdomain)
	const longest = 253 + 1 + 253 + 63 + 1 // a domain, a namespace and a name
	if len(name) > longest {
		f.Add(field.TooLong(at, "", longest))
	}
}

func conditions(f *rule.Faults, r *request) {
	seen := rule.Seen[certificatesv1.RequestConditionType]{}
	for i, c := range r.Status.Conditions {
		at := conditionsPath.Index(i)
		f.Need(at.Child("type"), string(c.Type))
		allowed := []corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown}
		switch c.Type {
		case certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed:
			allowed = []corev1.ConditionStatus{corev1.ConditionTrue}
		}
		if f.Need(at.Child("status"), string(c.Status)) {
			rule.OneOf(f, at.Child("status"), c.Status, allowed...)
		}
		if c.Type == certificatesv1.CertificateApproved && seen[certificatesv1.CertificateDenied] ||
			c.Type == certificatesv1.CertificateDenied && seen[certificatesv1.CertificateApproved] {
			f.Invalid(conditionsPath, c.Type, "Approved and Denied conditions are mutually exclusive")
		}
		if seen.Again(c.Type) {
			f.Duplicate(at.Child("type"), c.Type)
		}
	}
}

func validateUpdate(r, old *request) field.ErrorList   { return update(r, old, false, false) }
func validateStatus(r, old *request) field.ErrorList   { return update(r, old, false, true) }
func validateApproval(r, old *request) field.ErrorList { return update(r, old, true, false) }

// update checks a change of a request; approve and sign say what this way of changing it may do.
func update(r, old *request, approve, sign bool) field.ErrorList {
	f := &rule.Faults{}
	validate(f, r)
	changes := &rule.Faults{} // after the removals
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed} {
		is, was := ofType(r, t), ofType(old, t)
		decision := t != certificatesv1.CertificateFailed
		switch {
		case len(is) < len(was):
			f.Forbidden(conditionsPath, fmt.Sprintf("updates may not remove a condition of type %q", t))
		case approve || !decision:
		case len(is) > len(was):
			changes.Forbidden(conditionsPath, fmt.Sprintf("updates may not add a condition of type %q", t))
		case !equality.Semantic.DeepEqual(is, was):
			changes.Forbidden(conditionsPath, fmt.Sprintf("updates may not modify a condition of type %q\n%v", t, rule.Diff(was, is)))
		}
	}
	f.Add(changes.List...)
	if !bytes.Equal(r.Status.Certificate, old.Status.Certificate) {
		at := field.NewPath("status", "certificate")
		if !sign {
			f.Forbidden(at, "updates may not set certificate content")
		} else if len(old.Status.Certificate) > 0 {
			f.Forbidden(at, "updates may not modify existing certificate content")
		}
	}
	return f.List
}

func ofType(r *request, t certificatesv1.RequestConditionType) (out []certificatesv1.CertificateSigningRequestCondition) {
	for _, i := range indices(r, t) {
		out = append(out, r.Status.Conditions[i])
	}
	return slices.Clip(out)
}
