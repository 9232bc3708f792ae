package webhook

import (
	"fmt"
	"sync"
	"sync/atomic"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apiserver/pkg/admission/plugin/webhook"

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
