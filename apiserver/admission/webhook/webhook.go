// Package webhook asks the admission webhooks that users register. Mutating ones are called one after
// another and may patch the object, validating ones all at once; who is asked is decided by rules,
// selectors and match conditions. Predicates, reviews and clients are upstream's published libraries.
package webhook

import (
	"sync"

	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/namespace"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/object"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/cel/environment"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"

	"clipper/api"
	"clipper/apiserver/admission/extension"
	"clipper/apiserver/resolve"
)

// A Plugin is both webhook plug-ins: MutatingAdmissionWebhook and ValidatingAdmissionWebhook.
type Plugin struct {
	objects    extension.Objects
	clients    *webhookutil.ClientManager
	authz      authorizer.Authorizer
	namespaces namespace.Matcher
	labels     object.Matcher
	mutating   hooks
	validating hooks

	// compiler is made when the first match condition appears: its environment is large.
	compiler func() cel.ConditionCompiler
}

// New returns the plug-in. kubeconfig is a file that says as whom webhooks are called; "" for nobody. self is how the
// server calls itself, for webhooks behind its own API.
func New(c extension.Client, az authorizer.Authorizer, self *resolve.Loopback, kubeconfig string) (*Plugin, error) {
	clients, err := newClients(c, self, kubeconfig)
	if err != nil {
		return nil, err
	}
	lister, client := extension.Namespaces(c)
	return &Plugin{
		objects: extension.NewObjects(c), clients: clients, authz: az,
		namespaces: namespace.Matcher{NamespaceLister: lister, Client: client},
		mutating:   hooks{view: api.MutatingWebhookConfigurations.View(c).View, read: mutatingHooks},
		validating: hooks{view: api.ValidatingWebhookConfigurations.View(c).View, read: validatingHooks},
		compiler: sync.OnceValue(func() cel.ConditionCompiler {
			return cel.NewConditionCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
		}),
	}, nil
}
