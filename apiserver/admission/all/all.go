// Package all links the built-in admission plug-ins into one chain, in upstream's order.
package all

import (
	"slices"

	"clipper/api"
	"clipper/apiserver/admission"
	"clipper/apiserver/admission/certificates"
	"clipper/apiserver/admission/escalation"
	"clipper/apiserver/admission/expression"
	"clipper/apiserver/admission/ingressclass"
	"clipper/apiserver/admission/limitranger"
	"clipper/apiserver/admission/namespacelifecycle"
	"clipper/apiserver/admission/noderestriction"
	"clipper/apiserver/admission/nodetaint"
	"clipper/apiserver/admission/podsecurity"
	"clipper/apiserver/admission/policy"
	"clipper/apiserver/admission/priority"
	"clipper/apiserver/admission/quota"
	"clipper/apiserver/admission/runtimeclass"
	"clipper/apiserver/admission/serviceaccount"
	"clipper/apiserver/admission/storage"
	"clipper/apiserver/admission/tolerations"
	"clipper/apiserver/admission/webhook"
	"clipper/apiserver/allocate"
	"clipper/apiserver/authz"
)

// A Client reads objects and knows which resources are served, and how they are described.
type Client interface {
	webhook.Client
	Resources() []api.Resource
}

// New returns the chain of a server whose objects c reads, whose permissions az knows, and whose service
// addresses alloc hands out.
func New(c Client, az *authz.Authorizer, alloc *allocate.Allocator) (admission.Chain, error) {
	security, err := podsecurity.New(c)
	if err != nil {
		return admission.Chain{}, err
	}
	lifecycle, limits, prio := namespacelifecycle.New(c), limitranger.New(c), priority.New(c)
	builtin := []admission.Mutator{
		lifecycle,
		limits,
		serviceaccount.New(c),
		nodetaint.Plugin{},
		prio,
		tolerations.Plugin{},
		storage.NewDefaultClass(c),
		storage.InUseProtection{},
		runtimeclass.New(c),
		ingressclass.New(c),
	}
	hooks, err := webhook.New(c, az, builtin)
	if err != nil {
		return admission.Chain{}, err
	}
	return admission.Chain{
		// The allocator is last: what it takes is given back only if the rest fails.
		Mutators: append(slices.Clone(builtin), hooks, alloc),
		Validators: []admission.Validator{
			lifecycle,
			limits,
			noderestriction.New(c),
			security,
			prio,
			storage.NewClaimResize(c),
			certificates.Approval{Authorizer: az},
			certificates.Signing{Authorizer: az},
			certificates.Subject{},
			escalation.New(az),
			expression.Plugin{},
			policy.New(c, az, c.Resources),
			hooks,
			quota.New(c, c.Resources), // last: what it charges counts
		},
	}, nil
}
