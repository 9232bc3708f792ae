// Package all links the built-in admission plug-ins into one chain, in upstream's order.
package all

import (
	"clipper/api"
	"clipper/apiserver/admission"
	"clipper/apiserver/admission/certificates"
	"clipper/apiserver/admission/declaredfeatures"
	"clipper/apiserver/admission/escalation"
	"clipper/apiserver/admission/extension"
	"clipper/apiserver/admission/ingressclass"
	"clipper/apiserver/admission/limitranger"
	"clipper/apiserver/admission/namespacelifecycle"
	"clipper/apiserver/admission/noderestriction"
	"clipper/apiserver/admission/nodetaint"
	"clipper/apiserver/admission/paramaccess"
	"clipper/apiserver/admission/podresize"
	"clipper/apiserver/admission/podsecurity"
	"clipper/apiserver/admission/policy"
	"clipper/apiserver/admission/priority"
	"clipper/apiserver/admission/quota"
	"clipper/apiserver/admission/runtimeclass"
	"clipper/apiserver/admission/serviceaccount"
	"clipper/apiserver/admission/storage"
	"clipper/apiserver/admission/tolerations"
	"clipper/apiserver/admission/topologylabels"
	"clipper/apiserver/admission/webhook"
	"clipper/apiserver/allocate"
	"clipper/apiserver/authz"
)

// A Client reads objects and knows which resources there are.
type Client interface {
	extension.Client
	Resources() []api.Resource
}

// New returns the chain of a server whose objects c reads, whose permissions az knows, and whose service
// addresses alloc hands out.
func New(c Client, az *authz.Authorizer, alloc *allocate.Allocator) (*admission.Chain, error) {
	security, err := podsecurity.New(c)
	if err != nil {
		return nil, err
	}
	hooks, err := webhook.New(c, az)
	if err != nil {
		return nil, err
	}
	lifecycle, limits, accounts := namespacelifecycle.New(c), limitranger.New(c), serviceaccount.New(c)
	prio, classes := priority.New(c), runtimeclass.New(c)
	return admission.NewChain(
		admission.Plugin{Mutate: alloc},
		admission.Plugin{Validate: escalation.New(az)},
		admission.Plugin{Validate: paramaccess.New(c, az)},
		admission.Plugin{Name: "NamespaceLifecycle", Mutate: lifecycle, Validate: lifecycle},
		admission.Plugin{Name: "LimitRanger", Mutate: limits, Validate: limits},
		admission.Plugin{Name: "ServiceAccount", Mutate: accounts, Validate: accounts},
		admission.Plugin{Name: "NodeRestriction", Mutate: noderestriction.New(c, az)},
		admission.Plugin{Name: "TaintNodesByCondition", Mutate: nodetaint.Plugin{}},
		admission.Plugin{Name: "PodSecurity", Validate: security},
		admission.Plugin{Name: "Priority", Mutate: prio, Validate: prio},
		admission.Plugin{Name: "DefaultTolerationSeconds", Mutate: tolerations.Plugin{}},
		admission.Plugin{Name: "DefaultStorageClass", Mutate: storage.NewDefaultClass(c)},
		admission.Plugin{Name: "StorageObjectInUseProtection", Mutate: storage.InUseProtection{}},
		admission.Plugin{Name: "PersistentVolumeClaimResize", Validate: storage.NewClaimResize(c)},
		admission.Plugin{Name: "RuntimeClass", Mutate: classes, Validate: classes},
		admission.Plugin{Name: "CertificateApproval", Validate: certificates.Approval{Authorizer: az}},
		admission.Plugin{Name: "CertificateSigning", Validate: certificates.Signing{Authorizer: az}},
		admission.Plugin{Name: "CertificateSubjectRestriction", Validate: certificates.Subject{}},
		admission.Plugin{Name: "DefaultIngressClass", Mutate: ingressclass.New(c)},
		admission.Plugin{Name: "PodTopologyLabels", Mutate: topologylabels.New(c)},
		admission.Plugin{Name: "NodeDeclaredFeatureValidator", Validate: declaredfeatures.New(c)},
		admission.Plugin{Name: "PodResizeValidator", Validate: podresize.New(c)},
		admission.Plugin{Name: "MutatingAdmissionPolicy", Mutate: policy.NewMutating(c, az)},
		admission.Plugin{Name: "MutatingAdmissionWebhook", Mutate: hooks},
		admission.Plugin{Name: "ValidatingAdmissionPolicy", Validate: policy.NewValidating(c, az)},
		admission.Plugin{Name: "ValidatingAdmissionWebhook", Validate: hooks},
		admission.Plugin{Name: "ResourceQuota", Validate: quota.New(c, c.Resources)}, // last: what it charges counts
	), nil
}
