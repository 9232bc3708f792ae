// Package all links the built-in admission plug-ins into one chain, in upstream's order.
package all

import (
	"fmt"

	"clipper/api"
	"clipper/apiserver/admission"
	"clipper/apiserver/admission/claimaccess"
	"clipper/apiserver/admission/config"
	"clipper/apiserver/admission/escalation"
	"clipper/apiserver/admission/extension"
	"clipper/apiserver/admission/paramaccess"
	"clipper/apiserver/admission/tolerations"
	"clipper/apiserver/admission/webhook"
	"clipper/apiserver/allocate"
	"clipper/apiserver/authz"
	"clipper/apiserver/resolve"
)

// A Client reads objects and knows which resources there are.
type Client interface {
	extension.Client
	Resources() []api.Resource
}

// Options say which plug-ins a server has. The zero value is upstream's default.
type Options struct {
	Enable, Disable []string // names, in any order: these are on, or off, whatever the default is
	ConfigFile      string   // an AdmissionConfiguration; "" for none
	// Self is how the server calls itself, for webhooks behind its own API; nil: not otherwise than any service.
	Self *resolve.Loopback
	// Stay is how long pods stay on nodes that have failed; nil for upstream's default.
	Stay *tolerations.Plugin
}

// parts are what plug-ins are made of.
type parts struct {
	client Client
	authz  *authz.Authorizer
	config *config.File
	stay   tolerations.Plugin
	self   *resolve.Loopback
	// webhooks are by the kubeconfig that says in whose name they are called.
	webhooks map[string]*webhook.Plugin
}

// New returns the chain of a server whose objects c reads, whose permissions az knows, and whose service
// addresses alloc hands out.
func New(c Client, az *authz.Authorizer, alloc *allocate.Allocator, o Options) (*admission.Chain, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	file, err := config.Read(o.ConfigFile)
	if err != nil {
		return nil, fmt.Errorf("--admission-control-config-file: %w", err)
	}
	plugins := []admission.Plugin{
		{Mutate: alloc},
		{Validate: escalation.New(az)},
		{Validate: paramaccess.New(c, az)},
		{Examine: claimaccess.New(c, api.ResourceClaims.Resource, az)},
		{Examine: claimaccess.New(c, api.ResourceClaimTemplates.Resource, az)},
	}
	p := &parts{client: c, authz: az, config: file, self: o.Self, webhooks: map[string]*webhook.Plugin{},
		stay: tolerations.Plugin{NotReady: tolerations.DefaultSeconds, Unreachable: tolerations.DefaultSeconds}}
	if o.Stay != nil {
		p.stay = *o.Stay
	}
	for i := range order {
		known := &order[i]
		if known.make == nil || !o.enabled(known) {
			continue
		}
		plugin, err := p.make(known)
		if err != nil {
			return nil, fmt.Errorf("admission plug-in %s: %w", known.name, err)
		}
		plugins = append(plugins, plugin)
	}
	return admission.NewChain(plugins...), nil
}

func (p *parts) make(known *plugin) (admission.Plugin, error) {
	raw, err := p.config.For(known.name)
	if err == nil && raw != nil && !known.configured {
		err = config.ErrNone
	}
	if err != nil {
		return admission.Plugin{}, err
	}
	made, err := known.make(p, raw)
	if err != nil {
		return admission.Plugin{}, err
	}
	out := admission.Plugin{Name: known.name}
	out.Mutate, _ = made.(admission.Mutator)
	out.Validate, _ = made.(admission.Validator)
	return out, nil
}
