package webhook

import (
	"fmt"
	"sync"
	"sync/atomic"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	upstream "k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/webhook"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/generic"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/rules"

	"clipper/api"
)

// hooks are the webhooks of all configurations of one kind, in order of configuration name. Their parsed
// selectors, compiled conditions and clients are kept as long as no configuration changes.
type hooks struct {
	view api.View
	read func(api.Object) []webhook.WebhookAccessor

	mu      sync.Mutex
	current atomic.Pointer[snapshot]
}

type snapshot struct {
	version int64
	list    []webhook.WebhookAccessor
}

func (h *hooks) all() []webhook.WebhookAccessor {
	versioned, ok := h.view.(api.Versioned)
	if !ok {
		return h.parse()
	}
	if s := h.current.Load(); s != nil && s.version == versioned.Version() {
		return s.list
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	version := versioned.Version() // before the objects: what is read may be newer, never older
	if s := h.current.Load(); s != nil && s.version == version {
		return s.list
	}
	s := &snapshot{version, h.parse()}
	h.current.Store(s)
	return s.list
}

func (h *hooks) parse() (list []webhook.WebhookAccessor) {
	for _, o := range h.view.List("") {
		list = append(list, h.read(o)...)
	}
	return list
}

func mutatingHooks(o api.Object) (list []webhook.WebhookAccessor) {
	cfg := o.(*admissionregistrationv1.MutatingWebhookConfiguration)
	for i := range cfg.Webhooks {
		uid := fmt.Sprintf("%s/%s/%d", cfg.Name, cfg.Webhooks[i].Name, i)
		list = append(list, webhook.NewMutatingWebhookAccessor(uid, cfg.Name, &cfg.Webhooks[i]))
	}
	return list
}

func validatingHooks(o api.Object) (list []webhook.WebhookAccessor) {
	cfg := o.(*admissionregistrationv1.ValidatingWebhookConfiguration)
	for i := range cfg.Webhooks {
		uid := fmt.Sprintf("%s/%s/%d", cfg.Name, cfg.Webhooks[i].Name, i)
		list = append(list, webhook.NewValidatingWebhookAccessor(uid, cfg.Name, &cfg.Webhooks[i]))
	}
	return list
}

// invocation says how to call h for a write, or nil if its rules and selectors do not choose it.
// Conditions are not looked at yet.
func invocation(h webhook.WebhookAccessor, attrs *upstream.VersionedAttributes, namespaces api.TypedView[*corev1.Namespace]) (*generic.WebhookInvocation, error) {
	matched := false
	for _, r := range h.GetRules() {
		m := rules.Matcher{Rule: r, Attr: attrs}
		matched = matched || m.Matches()
	}
	if !matched {
		return nil, nil
	}
	if ok, err := NamespaceMatches(h, attrs, namespaces); err != nil || !ok {
		return nil, err
	}
	if ok, err := ObjectMatches(h, attrs); err != nil || !ok {
		return nil, err
	}
	return &generic.WebhookInvocation{Webhook: h, Resource: attrs.GetResource(), Subresource: attrs.GetSubresource(), Kind: attrs.VersionedKind}, nil
}

// A Selecting thing chooses writes by the labels of their namespace and object.
type Selecting interface {
	GetParsedNamespaceSelector() (labels.Selector, error)
	GetParsedObjectSelector() (labels.Selector, error)
}

// NamespaceMatches applies the namespace selector. Cluster-scoped objects pass, namespaces count as their own.
func NamespaceMatches(s Selecting, attrs upstream.Attributes, namespaces api.TypedView[*corev1.Namespace]) (bool, error) {
	sel, err := s.GetParsedNamespaceSelector()
	if err != nil || sel.Empty() {
		return err == nil, err
	}
	if attrs.GetResource().GroupResource() == (schema.GroupResource{Resource: "namespaces"}) {
		for _, o := range []any{attrs.GetObject(), attrs.GetOldObject()} {
			if ns, ok := o.(*corev1.Namespace); ok {
				return sel.Matches(labels.Set(ns.Labels)), nil
			}
		}
	}
	if attrs.GetNamespace() == "" {
		return true, nil
	}
	ns, ok := namespaces.Get("", attrs.GetNamespace())
	return ok && sel.Matches(labels.Set(ns.Labels)), nil
}

// ObjectMatches applies the object selector to the new and the old state: either may match.
func ObjectMatches(s Selecting, attrs upstream.Attributes) (bool, error) {
	sel, err := s.GetParsedObjectSelector()
	if err != nil || sel.Empty() {
		return err == nil, err
	}
	for _, o := range []any{attrs.GetObject(), attrs.GetOldObject()} {
		if m, ok := o.(interface{ GetLabels() map[string]string }); ok && sel.Matches(labels.Set(m.GetLabels())) {
			return true, nil
		}
	}
	return false, nil
}
