// Package webhook asks the admission webhooks that users register. Mutating ones are called one after
// another and may patch the object, validating ones all at once; who is asked is decided by rules,
// selectors and match conditions. Matching, reviews and clients are upstream's published libraries.
package webhook

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	upstream "k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/webhook"
	webhookerrors "k8s.io/apiserver/pkg/admission/plugin/webhook/errors"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/generic"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/rules"
	webhookrequest "k8s.io/apiserver/pkg/admission/plugin/webhook/request"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"

	"clipper/api"
	"clipper/apiserver/admission"
	"clipper/apiserver/admission/expression"
	"clipper/catalogue"
)

// A Client reads objects and knows how resources are described.
type Client interface {
	api.Client
	Describe(r api.Resource) *catalogue.Resource
}

// A Plugin is both webhook plug-ins: MutatingAdmissionWebhook and ValidatingAdmissionWebhook.
type Plugin struct {
	client     Client
	clients    *webhookutil.ClientManager
	authz      authorizer.Authorizer
	namespaces api.TypedView[*corev1.Namespace]
	mutating   hooks
	validating hooks
	again      []admission.Mutator // the plug-ins that see what webhooks did

	// compiler is made when the first match condition appears: its environment is large.
	compiler func() cel.ConditionCompiler
}

// New returns the plug-in. The mutators in again run once more after a webhook has changed an object.
func New(c Client, az authorizer.Authorizer, again []admission.Mutator) (*Plugin, error) {
	clients, err := newClients(c)
	if err != nil {
		return nil, err
	}
	return &Plugin{
		client: c, clients: clients, authz: az, again: again,
		namespaces: api.Namespaces.View(c),
		mutating:   hooks{view: api.MutatingWebhookConfigurations.View(c).View, read: mutatingHooks},
		validating: hooks{view: api.ValidatingWebhookConfigurations.View(c).View, read: validatingHooks},
		compiler: sync.OnceValue(func() cel.ConditionCompiler {
			set, err := expression.Env()
			if err != nil {
				panic(err) // the environment is made of constants
			}
			return cel.NewConditionCompiler(set)
		}),
	}, nil
}

// chosen returns how to call h for a write, or nil if it is not to be called.
func (p *Plugin) chosen(ctx context.Context, h webhook.WebhookAccessor, attrs *upstream.VersionedAttributes) (*generic.WebhookInvocation, error) {
	inv, err := invocation(h, attrs, p.namespaces)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if inv == nil || len(h.GetMatchConditions()) == 0 {
		return inv, nil
	}
	result := h.GetCompiledMatcher(p.compiler()).Match(ctx, attrs, nil, p.authz)
	switch {
	case result.Error != nil:
		// Of a webhook that fails open, a condition that cannot be evaluated is no match; the matcher knows.
		return nil, apierrors.NewForbidden(attrs.GetResource().GroupResource(), attrs.GetName(), result.Error)
	case !result.Matches:
		return nil, nil
	}
	return inv, nil
}

// exempt says whether webhooks have no say: else a broken one could not be removed.
func exempt(attrs upstream.Attributes) bool {
	return rules.IsExemptAdmissionConfigurationResource(attrs)
}

// failure turns the outcome of a call into what the client is told; nil if the write may go on.
func failure(h webhook.WebhookAccessor, err error) error {
	var calling *webhookutil.ErrCallingWebhook
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &calling):
		return err
	case h.GetFailurePolicy() != nil && *h.GetFailurePolicy() == admissionregistrationv1.Ignore:
		slog.Warn("webhook failed; its policy lets the write go on", "webhook", h.GetName(), "err", err)
		return nil
	}
	return apierrors.NewInternalError(err)
}

// accepted reports a webhook's refusal and passes its warnings on.
func accepted(a *admission.Attributes, h webhook.WebhookAccessor, r *webhookrequest.AdmissionResponse) error {
	for _, w := range r.Warnings {
		a.Warn(w)
	}
	if r.Allowed {
		return nil
	}
	return webhookerrors.ToStatusErr(h.GetName(), r.Result)
}

// Validate asks all validating webhooks that are chosen, at once, and returns the first refusal by order.
func (p *Plugin) Validate(ctx context.Context, a *admission.Attributes) error {
	list := p.validating.all()
	if len(list) == 0 {
		return nil
	}
	attrs := Attributes(a)
	if exempt(attrs) {
		return nil
	}
	var chosen []*generic.WebhookInvocation
	for _, h := range list {
		inv, err := p.chosen(ctx, h, attrs)
		if err != nil {
			return err
		}
		if inv != nil {
			chosen = append(chosen, inv)
		}
	}
	results, errs := make([]*webhookrequest.AdmissionResponse, len(chosen)), make([]error, len(chosen))
	var wg sync.WaitGroup
	for i, inv := range chosen {
		wg.Go(func() { results[i], errs[i] = p.call(ctx, attrs, inv, false) })
	}
	wg.Wait()
	for i, inv := range chosen {
		if results[i] != nil {
			errs[i] = accepted(a, inv.Webhook, results[i])
		}
		if err := failure(inv.Webhook, errs[i]); err != nil {
			return err
		}
	}
	return nil
}
