package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	serializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	upstream "k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/webhook"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/rules"
	auditapi "k8s.io/apiserver/pkg/apis/audit"

	"clipper/apiserver/admission"
	checked "clipper/apiserver/jsonpatch"
)

// mutating is the phase's name in metrics.
const mutating = "admit"

// A round is one pass over the mutating webhooks for one write. In a second one only those are asked that
// want it and have not seen the last change.
type round struct {
	*Plugin
	a        *admission.Attributes
	attrs    upstream.Attributes
	number   int
	memory   *memory
	versions latestVersion
}

// Admit lets the mutating webhooks change the object, in order.
func (p *Plugin) Admit(ctx context.Context, a *admission.Attributes) error {
	list := p.mutating.all()
	if len(list) == 0 {
		return nil
	}
	attrs := a.Record()
	if rules.IsExemptAdmissionConfigurationResource(attrs) {
		return nil
	}
	r := &round{Plugin: p, a: a, attrs: attrs, memory: recall(attrs), versions: latestVersion{attrs: attrs, objects: p.objects}}
	if attrs.GetReinvocationContext().IsReinvoke() {
		r.number = 1
		r.memory.compare(attrs.GetObject())
	}
	defer func() { r.memory.keep(attrs.GetObject()) }()
	for i, h := range list {
		if err := r.turn(ctx, i, h); err != nil {
			return err
		}
	}
	return r.versions.finish()
}

// turn asks one webhook, if it is chosen and it is its turn.
func (r *round) turn(ctx context.Context, index int, h webhook.WebhookAccessor) error {
	var seen upstream.Attributes = r.attrs
	if r.versions.current != nil {
		seen = r.versions.current
	}
	inv, err := r.chosen(ctx, h, seen, &r.versions)
	if err != nil || inv == nil || r.number > 0 && !r.memory.due[h.GetUID()] {
		return err
	}
	attrs, err := r.versions.VersionedAttribute(inv.Kind)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	at := fmt.Sprintf("mutation.webhook.admission.k8s.io/round_%d_index_%d", r.number, index)
	c := &call{inv: inv, attrs: attrs, phase: mutating, openKey: "failed-open." + at}
	changed := r.mutate(ctx, c, fmt.Sprintf("patch.webhook.admission.k8s.io/round_%d_index_%d", r.number, index))
	c.annotateJSON(at, auditapi.LevelMetadata, mutation{h.GetConfigurationName(), h.GetName(), changed})
	if changed {
		r.memory.changed()
		r.attrs.GetReinvocationContext().SetShouldReinvoke()
	}
	if wants(h) {
		r.memory.invoked[h.GetUID()] = true
	}
	if err := c.settle(ctx); err != nil {
		return err
	}
	if c.err != nil && ctx.Err() != nil { // it failed open because the whole request is out of time
		return errOutOfTime()
	}
	return nil
}

// wants says whether a webhook is to be asked again if the object changes after its turn.
func wants(h webhook.WebhookAccessor) bool {
	hook, ok := h.GetMutatingWebhook()
	return ok && hook.ReinvocationPolicy != nil && *hook.ReinvocationPolicy == admissionregistrationv1.IfNeededReinvocationPolicy
}

// mutate asks the webhook and applies its patch; what goes wrong is in c.err.
func (r *round) mutate(ctx context.Context, c *call, patchKey string) (changed bool) {
	r.ask(ctx, c)
	c.accept(r.a)
	if c.err != nil || len(c.response.Patch) == 0 {
		return false
	}
	patch, err := jsonpatch.DecodePatch(c.response.Patch)
	if err != nil {
		c.err = c.failed(fmt.Errorf("received undecodable patch in webhook response: %w", err), apierrors.NewServiceUnavailable("error decoding patch in webhook response"))
		return false
	}
	if len(patch) == 0 {
		return false
	}
	var next runtime.Object
	if next, c.err = r.patched(c, patch); c.err != nil {
		return false
	}
	name := c.inv.Webhook
	c.annotateJSON(patchKey, auditapi.LevelRequest, patchNote{name.GetConfigurationName(), name.GetName(), patch, string(admissionv1.PatchTypeJSONPatch)})
	changed = !equality.Semantic.DeepEqual(c.attrs.VersionedObject, next)
	c.attrs.Dirty, c.attrs.VersionedObject = true, next
	r.objects.Default(next)
	return changed
}

// patched applies a patch and returns the result, another object of the same version.
func (r *round) patched(c *call, patch jsonpatch.Patch) (runtime.Object, error) {
	if c.attrs.VersionedObject == nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("admission webhook %q attempted to modify the object, which is not supported for this operation", c.inv.Webhook.GetName()))
	}
	if t := c.response.PatchType; t != admissionv1.PatchTypeJSONPatch {
		return nil, c.failed(fmt.Errorf("unsupported patch type %q", t), apierrors.NewServiceUnavailable("unsupported patch type in webhook response"))
	}
	format := serializer.NewSerializerWithOptions(serializer.DefaultMetaFactory, r.objects, r.objects, serializer.SerializerOptions{})
	before, err := runtime.Encode(format, c.attrs.VersionedObject)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	after, err := checked.Apply(patch, before)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	next, err := r.objects.New(c.attrs.VersionedKind)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if next, _, err = format.Decode(after, nil, next); err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return next, nil
}

// mutation and patchNote are audit annotations.
type mutation struct {
	Configuration string `json:"configuration"`
	Webhook       string `json:"webhook"`
	Mutated       bool   `json:"mutated"`
}

type patchNote struct {
	Configuration string          `json:"configuration"`
	Webhook       string          `json:"webhook"`
	Patch         jsonpatch.Patch `json:"patch,omitempty"`
	PatchType     string          `json:"patchType,omitempty"`
}

func (c *call) annotateJSON(key string, level auditapi.Level, value any) {
	text, err := json.Marshal(value)
	if err == nil {
		err = c.attrs.Attributes.AddAnnotationWithLevel(key, string(text), level)
	}
	if err != nil { // the value may hold secrets
		slog.Warn("audit annotation dropped", "webhook", c.inv.Webhook.GetName(), "key", key, "err", err)
	}
}
