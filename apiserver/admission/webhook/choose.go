package webhook

import (
	"context"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	upstream "k8s.io/apiserver/pkg/admission"
	admissionmetrics "k8s.io/apiserver/pkg/admission/metrics"
	"k8s.io/apiserver/pkg/admission/plugin/webhook"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/generic"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/rules"
)

// chosen says how to call h for a write, or nil if it is not to be called. A selector that cannot be
// applied matters only if the rules choose the write.
func (p *Plugin) chosen(ctx context.Context, h webhook.WebhookAccessor, attrs upstream.Attributes, versions generic.VersionedAttributeAccessor) (*generic.WebhookInvocation, error) {
	ok, namespaceFault := p.namespaces.MatchNamespaceSelector(h, attrs)
	if !ok && namespaceFault == nil {
		return nil, nil
	}
	ok, objectFault := p.labels.MatchObjectSelector(h, attrs)
	if !ok && objectFault == nil {
		return nil, nil
	}
	inv, err := p.byRules(h, attrs)
	switch {
	case err != nil || inv == nil:
		return nil, err
	case namespaceFault != nil:
		return nil, namespaceFault
	case objectFault != nil:
		return nil, objectFault
	}
	return p.byConditions(ctx, inv, attrs, versions)
}

// byRules looks for a rule that names the resource as it was asked for, then, if the webhook takes
// equivalents, for one that names it otherwise: the webhook gets the object in the version that it knows.
func (p *Plugin) byRules(h webhook.WebhookAccessor, attrs upstream.Attributes) (*generic.WebhookInvocation, error) {
	sub := attrs.GetSubresource()
	for _, r := range h.GetRules() {
		m := rules.Matcher{Rule: r, Attr: attrs}
		if m.Matches() {
			return &generic.WebhookInvocation{Webhook: h, Resource: attrs.GetResource(), Subresource: sub, Kind: attrs.GetKind()}, nil
		}
	}
	if policy := h.GetMatchPolicy(); policy == nil || *policy != admissionregistrationv1.Equivalent {
		return nil, nil
	}
	others := p.objects.EquivalentResourcesFor(attrs.GetResource(), sub)
	for _, r := range h.GetRules() {
		for _, other := range others {
			m := rules.Matcher{Rule: r, Attr: renamed{attrs, other}}
			if other == attrs.GetResource() || !m.Matches() {
				continue
			}
			kind := p.objects.KindFor(other, sub)
			if kind.Empty() {
				return nil, apierrors.NewInternalError(fmt.Errorf("unable to convert to %v: unknown kind", other))
			}
			return &generic.WebhookInvocation{Webhook: h, Resource: other, Subresource: sub, Kind: kind}, nil
		}
	}
	return nil, nil
}

// renamed is a write to a resource under another of its names.
type renamed struct {
	upstream.Attributes
	resource schema.GroupVersionResource
}

func (r renamed) GetResource() schema.GroupVersionResource { return r.resource }

// byConditions evaluates the webhook's match conditions. Of a webhook that fails open, a condition that
// cannot be evaluated is no match; the matcher knows.
func (p *Plugin) byConditions(ctx context.Context, inv *generic.WebhookInvocation, attrs upstream.Attributes, versions generic.VersionedAttributeAccessor) (*generic.WebhookInvocation, error) {
	h := inv.Webhook
	if len(h.GetMatchConditions()) == 0 {
		return inv, nil
	}
	versioned, err := versions.VersionedAttribute(inv.Kind)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	result := h.GetCompiledMatcher(p.compiler()).Match(ctx, versioned, nil, p.authz)
	switch {
	case result.Error != nil:
		return nil, apierrors.NewForbidden(attrs.GetResource().GroupResource(), attrs.GetName(), result.Error)
	case !result.Matches:
		admissionmetrics.Metrics.ObserveMatchConditionExclusion(ctx, h.GetName(), "webhook", h.GetType(), string(attrs.GetOperation()))
		return nil, nil
	}
	return inv, nil
}
