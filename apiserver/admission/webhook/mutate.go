package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apiserver/pkg/admission/plugin/webhook"

	"clipper/api"
	"clipper/apiserver/admission"
)

// Admit lets the mutating webhooks change the object, in order. If one did, the built-in plug-ins look
// at it again, and then once more the webhooks that asked for it and have not seen the last change.
func (p *Plugin) Admit(ctx context.Context, a *admission.Attributes) error {
	list := p.mutating.all()
	if len(list) == 0 || exempt(Attributes(a)) {
		return nil
	}
	first, err := p.round(ctx, a, list, nil)
	if err != nil || !first.changed {
		return err
	}
	before := a.Object.DeepCopyObject()
	for _, m := range p.again {
		if err := m.Admit(ctx, a); err != nil {
			return err
		}
	}
	redo := first.outdated
	if !equality.Semantic.DeepEqual(before, a.Object) {
		redo = first.reinvocable
	}
	if len(redo) == 0 {
		return nil
	}
	_, err = p.round(ctx, a, list, redo)
	return err
}

// outcome is what a round of calls came to.
type outcome struct {
	changed     bool
	reinvocable map[string]bool // called, and willing to be called again
	outdated    map[string]bool // of those, the ones called before the last change
}

// round calls the webhooks of list that are chosen; with only, just those in it.
func (p *Plugin) round(ctx context.Context, a *admission.Attributes, list []webhook.WebhookAccessor, only map[string]bool) (outcome, error) {
	out := outcome{reinvocable: map[string]bool{}, outdated: map[string]bool{}}
	for _, h := range list {
		if only != nil && !only[h.GetUID()] {
			continue
		}
		changed, called, err := p.mutate(ctx, a, h)
		if err := failure(h, err); err != nil {
			return out, err
		}
		if changed {
			out.changed = true
			for uid := range out.reinvocable {
				out.outdated[uid] = true
			}
		}
		mw, _ := h.GetMutatingWebhook()
		if called && mw.ReinvocationPolicy != nil && *mw.ReinvocationPolicy == admissionregistrationv1.IfNeededReinvocationPolicy {
			out.reinvocable[h.GetUID()] = true
		}
	}
	return out, nil
}

func (p *Plugin) mutate(ctx context.Context, a *admission.Attributes, h webhook.WebhookAccessor) (changed, called bool, err error) {
	attrs := Attributes(a)
	inv, err := p.chosen(ctx, h, attrs)
	if err != nil || inv == nil {
		return false, false, err
	}
	result, err := p.call(ctx, attrs, inv, true)
	if err != nil {
		return false, true, err
	}
	if err := accepted(a, h, result); err != nil {
		return false, true, err
	}
	if len(result.Patch) == 0 {
		return false, true, nil
	}
	if a.Object == nil {
		return false, true, apierrors.NewInternalError(fmt.Errorf("admission webhook %q attempted to modify the object, which is not supported for this operation", h.GetName()))
	}
	if result.PatchType != admissionv1.PatchTypeJSONPatch {
		return false, true, apierrors.NewInternalError(fmt.Errorf("admission webhook %q: unsupported patch type %q", h.GetName(), result.PatchType))
	}
	next, err := patched(attrs.VersionedObject.(api.Object), result.Patch)
	if err != nil {
		return false, true, apierrors.NewInternalError(err)
	}
	if equality.Semantic.DeepEqual(attrs.VersionedObject, next) {
		return false, true, nil
	}
	if err := p.adopt(a, next); err != nil {
		return false, true, apierrors.NewInternalError(err)
	}
	return true, true, nil
}

// patched applies a JSON patch to an object and returns the result, another object of the same type.
func patched(o api.Object, patch []byte) (api.Object, error) {
	decoded, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		return nil, fmt.Errorf("received undecodable patch in webhook response: %w", err)
	}
	before, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	after, err := decoded.Apply(before)
	if err != nil {
		return nil, err
	}
	next := reflect.New(reflect.TypeOf(o).Elem()).Interface().(api.Object)
	if err := json.Unmarshal(after, next); err != nil {
		return nil, err
	}
	return next, nil
}

// adopt makes next the content of the object under admission, which stays where it is: the pipeline holds
// the same pointer. What a custom resource's schema does not know goes, defaults come.
func (p *Plugin) adopt(a *admission.Attributes, next api.Object) error {
	r := p.client.Describe(a.Resource)
	if u, ok := a.Object.(*unstructured.Unstructured); ok {
		if r != nil && r.Custom != nil && r.Custom.Prune[a.Resource.Version] != nil {
			if _, err := r.Custom.Prune[a.Resource.Version](next); err != nil {
				return err
			}
		}
		u.Object = next.(*unstructured.Unstructured).Object
	} else {
		next.GetObjectKind().SetGroupVersionKind(a.Object.GetObjectKind().GroupVersionKind())
		reflect.ValueOf(a.Object).Elem().Set(reflect.ValueOf(next).Elem())
	}
	if a.Subresource != "" && a.Subresource != "status" {
		return nil // another kind than the resource's, as a rule
	}
	if r != nil && r.Default != nil {
		r.Default(a.Object)
	}
	return nil
}
