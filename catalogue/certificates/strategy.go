package certificates

import (
	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"clipper/api"
	"clipper/catalogue/rule"
)

// setRequestor writes down who asks, whatever the request claims.
func setRequestor(obj api.Object, creator user.Info) {
	s := &obj.(*certificatesv1.CertificateSigningRequest).Spec
	s.Username, s.UID, s.Groups, s.Extra = "", "", nil, nil
	if creator == nil {
		return
	}
	s.Username, s.UID, s.Groups = creator.GetName(), creator.GetUID(), creator.GetGroups()
	for key, values := range creator.GetExtra() {
		if s.Extra == nil {
			s.Extra = map[string]certificatesv1.ExtraValue{}
		}
		s.Extra[key] = values
	}
}

// prepareStatus lets signers write certificates and failures, not approvals and denials.
func prepareStatus(r, old *certificatesv1.CertificateSigningRequest) {
	keep(r, old, certificatesv1.CertificateApproved)
	keep(r, old, certificatesv1.CertificateDenied)
	stamp(r, old)
}

// prepareApproval keeps of an update of the approval subresource only the conditions.
func prepareApproval(r, old *certificatesv1.CertificateSigningRequest) {
	stamp(r, old)
	conditions := r.Status.Conditions
	r.Spec, r.Status = old.Spec, old.Status
	r.Status.Conditions = conditions
}

// keep restores the conditions of a type; if their number differs, validation refuses.
func keep(r, old *certificatesv1.CertificateSigningRequest, t certificatesv1.RequestConditionType) {
	is, was := indices(r, t), indices(old, t)
	if len(is) != len(was) {
		return
	}
	for i := range is {
		r.Status.Conditions[is[i]] = old.Status.Conditions[was[i]]
	}
}

func indices(r *certificatesv1.CertificateSigningRequest, t certificatesv1.RequestConditionType) (out []int) {
	for i, c := range r.Status.Conditions {
		if c.Type == t {
			out = append(out, i)
		}
	}
	return out
}

// stamp fills in the times that the client left out.
func stamp(r, old *certificatesv1.CertificateSigningRequest) {
	now := rule.Now()
	for i := range r.Status.Conditions {
		c := &r.Status.Conditions[i]
		if c.LastUpdateTime.IsZero() {
			c.LastUpdateTime = now
		}
		if !c.LastTransitionTime.IsZero() {
			continue
		}
		c.LastTransitionTime = now
		for _, was := range old.Status.Conditions {
			if was.Type == c.Type && was.Status == c.Status && !was.LastTransitionTime.IsZero() {
				c.LastTransitionTime = was.LastTransitionTime
				break
			}
		}
	}
}
