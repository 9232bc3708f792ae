// Package admissionregistration describes the kinds of admissionregistration.k8s.io/v1.
package admissionregistration

import (
	"clipper/catalogue"
)

// Resources describes the kinds of the group.
func Resources() []*catalogue.Resource {
	return []*catalogue.Resource{
		mutatingPolicies(),
		mutatingPolicyBindings(),
		mutatingWebhooks(),
		validatingPolicies(),
		validatingPolicyBindings(),
		validatingWebhooks(),
	}
}
