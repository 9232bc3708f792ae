package webhook

import (
	"context"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	upstream "k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/rules"

	"clipper/apiserver/admission"
	"clipper/apiserver/admission/extension"
)

// Validate asks all validating webhooks that are chosen, at once, and returns the first refusal by order.
func (p *Plugin) Validate(ctx context.Context, a *admission.Attributes) error {
	list := p.validating.all()
	if len(list) == 0 {
		return nil
	}
	attrs := a.Record()
	if rules.IsExemptAdmissionConfigurationResource(attrs) {
		return nil // else a broken webhook could not be removed
	}
	versions := &everyVersion{attrs: attrs, objects: p.objects, made: map[schema.GroupVersionKind]*upstream.VersionedAttributes{}}
	var calls []*call
	for _, h := range list {
		inv, err := p.chosen(ctx, h, attrs, versions)
		if err != nil {
			return err
		}
		if inv == nil {
			continue
		}
		versioned, err := versions.VersionedAttribute(inv.Kind)
		if err != nil {
			return apierrors.NewInternalError(err)
		}
		calls = append(calls, &call{inv: inv, attrs: versioned, phase: "validating",
			openKey: fmt.Sprintf("failed-open.validating.webhook.admission.k8s.io/round_0_index_%d", len(calls))})
	}
	return p.askAll(ctx, a, calls)
}

func (p *Plugin) askAll(ctx context.Context, a *admission.Attributes, calls []*call) error {
	if len(calls) > 0 && ctx.Err() != nil {
		return errOutOfTime()
	}
	var wg sync.WaitGroup
	for _, c := range calls {
		wg.Go(func() { p.ask(ctx, c) })
	}
	wg.Wait()
	var first error
	for _, c := range calls {
		c.accept(a)
		if err := c.settle(ctx); err != nil && first == nil {
			first = err
		}
	}
	return first
}

func errOutOfTime() error {
	return apierrors.NewTimeoutError("request did not complete within requested timeout", 0)
}

// everyVersion converts a write once for each version that some webhook wants.
type everyVersion struct {
	attrs   upstream.Attributes
	objects extension.Objects
	made    map[schema.GroupVersionKind]*upstream.VersionedAttributes
}

// VersionedAttribute implements generic.VersionedAttributeAccessor.
func (v *everyVersion) VersionedAttribute(gvk schema.GroupVersionKind) (*upstream.VersionedAttributes, error) {
	if made := v.made[gvk]; made != nil {
		return made, nil
	}
	made, err := upstream.NewVersionedAttributes(v.attrs, gvk, v.objects)
	if err == nil {
		v.made[gvk] = made
	}
	return made, err
}
