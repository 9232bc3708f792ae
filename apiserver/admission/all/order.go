package all

import (
	"context"

	"k8s.io/utils/clock"

	"clipper/apiserver/admission"
	"clipper/apiserver/admission/always"
	"clipper/apiserver/admission/antiaffinity"
	"clipper/apiserver/admission/certificates"
	"clipper/apiserver/admission/declaredfeatures"
	"clipper/apiserver/admission/eventrate"
	"clipper/apiserver/admission/externalips"
	"clipper/apiserver/admission/imagepolicy"
	"clipper/apiserver/admission/ingressclass"
	"clipper/apiserver/admission/limitranger"
	"clipper/apiserver/admission/namespaceexists"
	"clipper/apiserver/admission/namespacelifecycle"
	"clipper/apiserver/admission/noderestriction"
	"clipper/apiserver/admission/nodeselector"
	"clipper/apiserver/admission/nodetaint"
	"clipper/apiserver/admission/ownerreferences"
	"clipper/apiserver/admission/podresize"
	"clipper/apiserver/admission/podsecurity"
	"clipper/apiserver/admission/policy"
	"clipper/apiserver/admission/priority"
	"clipper/apiserver/admission/pullpolicy"
	"clipper/apiserver/admission/quota"
	"clipper/apiserver/admission/runtimeclass"
	"clipper/apiserver/admission/serviceaccount"
	"clipper/apiserver/admission/storage"
	"clipper/apiserver/admission/tolerations"
	"clipper/apiserver/admission/topologylabels"
	"clipper/apiserver/admission/webhook"
)

// A plugin is one that the flags know. make returns a Mutator, a Validator or both; where it is nil the plug-in has
// nothing to do, for what it is about is not served.
type plugin struct {
	name       string
	off        bool // unless it is asked for
	configured bool // it may have a configuration
	make       func(p *parts, raw []byte) (any, error)
}

// order is upstream's. What ResourceQuota charges counts: it comes after all that might refuse.
var order = []plugin{
	{name: "AlwaysAdmit", off: true},
	{name: "NamespaceAutoProvision", off: true, make: of(func(p *parts) any { return namespaceexists.NewProvision(p.client) })},
	{name: "NamespaceLifecycle", make: of(func(p *parts) any { return namespacelifecycle.New(p.client) })},
	{name: "NamespaceExists", off: true, make: of(func(p *parts) any { return namespaceexists.New(p.client) })},
	{name: "LimitPodHardAntiAffinityTopology", off: true, make: is(antiaffinity.Plugin{})},
	{name: "LimitRanger", make: of(func(p *parts) any { return limitranger.New(p.client) })},
	{name: "ServiceAccount", make: of(func(p *parts) any { return serviceaccount.New(p.client) })},
	{name: "NodeRestriction", make: of(func(p *parts) any { return noderestriction.New(p.client, p.authz) })},
	{name: "TaintNodesByCondition", make: is(nodetaint.Plugin{})},
	{name: "AlwaysPullImages", off: true, make: is(pullpolicy.Plugin{})},
	{name: "ImagePolicyWebhook", off: true, configured: true, make: func(_ *parts, raw []byte) (any, error) { return imagepolicy.New(raw) }},
	{name: "PodSecurity", configured: true, make: func(p *parts, raw []byte) (any, error) { return podsecurity.New(p.client, raw) }},
	{name: "PodNodeSelector", off: true, configured: true, make: func(p *parts, raw []byte) (any, error) { return nodeselector.New(p.client, raw) }},
	{name: "Priority", make: of(func(p *parts) any { return priority.New(p.client) })},
	{name: "DefaultTolerationSeconds", make: of(func(p *parts) any { return p.stay })},
	{name: "PodTolerationRestriction", off: true, configured: true, make: func(p *parts, raw []byte) (any, error) { return tolerations.NewRestriction(p.client, raw) }},
	{name: "EventRateLimit", off: true, configured: true, make: func(_ *parts, raw []byte) (any, error) { return eventrate.New(raw, clock.RealClock{}) }},
	{name: "ExtendedResourceToleration", off: true, make: is(tolerations.Extended{})},
	{name: "DefaultStorageClass", make: of(func(p *parts) any { return storage.NewDefaultClass(p.client) })},
	{name: "StorageObjectInUseProtection", make: is(storage.InUseProtection{})},
	{name: "PodGroupProtection"},
	{name: "OwnerReferencesPermissionEnforcement", off: true, make: of(func(p *parts) any { return ownerreferences.New(p.client.Table, p.authz) })},
	{name: "PersistentVolumeClaimResize", make: of(func(p *parts) any { return storage.NewClaimResize(p.client) })},
	{name: "RuntimeClass", make: of(func(p *parts) any { return runtimeclass.New(p.client) })},
	{name: "CertificateApproval", make: of(func(p *parts) any { return certificates.Approval{Authorizer: p.authz} })},
	{name: "CertificateSigning", make: of(func(p *parts) any { return certificates.Signing{Authorizer: p.authz} })},
	{name: "ClusterTrustBundleAttest"},
	{name: "CertificateSubjectRestriction", make: is(certificates.Subject{})},
	{name: "DefaultIngressClass", make: of(func(p *parts) any { return ingressclass.New(p.client) })},
	{name: "DenyServiceExternalIPs", off: true, make: is(externalips.Plugin{})},
	{name: "PodTopologyLabels", make: of(func(p *parts) any { return topologylabels.New(p.client) })},
	{name: "PodGroupWorkloadExists"},
	{name: "NodeDeclaredFeatureValidator", make: of(func(p *parts) any { return declaredfeatures.New(p.client) })},
	{name: "JobValidation"},
	{name: "PodResizeValidator", make: of(func(p *parts) any { return podresize.New(p.client) })},
	{name: "MutatingAdmissionPolicy", make: of(func(p *parts) any { return policy.NewMutating(p.client, p.authz) })},
	{name: "MutatingAdmissionWebhook", configured: true, make: func(p *parts, raw []byte) (any, error) {
		hooks, err := p.hooks(raw)
		return mutates{hooks}, err
	}},
	{name: "ValidatingAdmissionPolicy", make: of(func(p *parts) any { return policy.NewValidating(p.client, p.authz) })},
	{name: "ValidatingAdmissionWebhook", configured: true, make: func(p *parts, raw []byte) (any, error) {
		hooks, err := p.hooks(raw)
		return validates{hooks}, err
	}},
	{name: "ResourceQuota", configured: true, make: func(p *parts, raw []byte) (any, error) { return quota.New(p.client, p.client.Resources, raw) }},
	{name: "AlwaysDeny", off: true, make: is(always.Deny{})},
}

// of is for plug-ins that cannot fail.
func of(make func(p *parts) any) func(*parts, []byte) (any, error) {
	return func(p *parts, _ []byte) (any, error) { return make(p), nil }
}

// is is for plug-ins that need nothing.
func is(made any) func(*parts, []byte) (any, error) {
	return func(*parts, []byte) (any, error) { return made, nil }
}

// hooks returns what calls webhooks, the same for both plug-ins unless they do it in different names.
func (p *parts) hooks(raw []byte) (*webhook.Plugin, error) {
	kubeconfig, err := webhook.Kubeconfig(raw)
	if err != nil {
		return nil, err
	}
	if p.webhooks[kubeconfig] == nil {
		if p.webhooks[kubeconfig], err = webhook.New(p.client, p.authz, p.self, kubeconfig); err != nil {
			return nil, err
		}
	}
	return p.webhooks[kubeconfig], nil
}

// The two plug-ins that call webhooks are one, each time half of it.
type (
	mutates   struct{ hooks admission.Mutator }
	validates struct{ hooks admission.Validator }
)

func (m mutates) Admit(ctx context.Context, a *admission.Attributes) error {
	return m.hooks.Admit(ctx, a)
}
func (v validates) Validate(ctx context.Context, a *admission.Attributes) error {
	return v.hooks.Validate(ctx, a)
}
