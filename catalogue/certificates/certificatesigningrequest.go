package certificates

import (
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1" // whose descriptions upstream still shows
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/table"
)

// certificateSigningRequests describes CertificateSigningRequest.
func certificateSigningRequests() *catalogue.Resource {
	r := catalogue.Describe[certificatesv1.CertificateSigningRequest, certificatesv1.CertificateSigningRequestList](catalogue.Kind[*certificatesv1.CertificateSigningRequest]{
		Resource:       api.Resource{Group: "certificates.k8s.io", Version: "v1", Name: "certificatesigningrequests", Kind: "CertificateSigningRequest"},
		ValidateName:   func(string, bool) []string { return nil }, // any name that fits into a path
		ValidateCreate: validateCreate,
		Metadata:       catalogue.ChangesThenWhole, StatusMetadata: catalogue.ChangesThenWhole,
		ValidateUpdate: validateUpdate,
		ValidateStatus: validateStatus,
		PrepareUpdate:  func(r, old *certificatesv1.CertificateSigningRequest) { r.Spec = old.Spec },
		PrepareStatus:  prepareStatus,
		Columns:        csrColumns,
		Row:            csrRow,
		ShortNames:     []string{"csr"},
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
			New:    func() runtime.Object { return new(certificatesv1.CertificateSigningRequest) },
			Update: catalogue.StatusOf(prepareApproval, validateApproval, catalogue.ChangesThenWhole...),
		}},
	})
	r.PrepareCreateFor = setRequestor
	return r
}

var csrColumns = []table.Column{
	table.Name,
	table.Age,
	table.String("SignerName", table.Doc(certificatesv1beta1.CertificateSigningRequestSpec{}, "signerName")),
	table.String("Requestor", table.Doc(certificatesv1beta1.CertificateSigningRequestSpec{}, "request")),
	table.String("RequestedDuration", table.Doc(certificatesv1beta1.CertificateSigningRequestSpec{}, "expirationSeconds")),
	table.String("Condition", table.Doc(certificatesv1beta1.CertificateSigningRequestStatus{}, "conditions")),
}

func csrRow(r *certificatesv1.CertificateSigningRequest, now time.Time) []any {
	asked := table.None
	if s := r.Spec.ExpirationSeconds; s != nil {
		asked = duration.HumanDuration(time.Duration(*s) * time.Second)
	}
	return []any{r.Name, table.Since(r.CreationTimestamp, now), table.Or(r.Spec.SignerName, table.None), r.Spec.Username, asked, csrState(r)}
}

// csrState puts a denial above an approval, and adds what became of it.
func csrState(r *certificatesv1.CertificateSigningRequest) string {
	has := func(t certificatesv1.RequestConditionType) bool {
		return slices.ContainsFunc(r.Status.Conditions, func(c certificatesv1.CertificateSigningRequestCondition) bool { return c.Type == t })
	}
	state := "Pending"
	switch {
	case has(certificatesv1.CertificateDenied):
		state = "Denied"
	case has(certificatesv1.CertificateApproved):
		state = "Approved"
	}
	if has(certificatesv1.CertificateFailed) {
		state += ",Failed"
	}
	if len(r.Status.Certificate) > 0 {
		state += ",Issued"
	}
	return state
}
