package aggregation

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"

	"clipper/api"
)

// Held is the way to the objects that extension servers hold: a client of their metadata, and a list of what there is.
type Held struct {
	metadata.Interface
	c *Controller
}

// Held returns it in the name of u, for whom the extension servers decide what is allowed.
func (c *Controller) Held(u user.Info) (*Held, error) {
	client, err := metadata.NewForConfig(&rest.Config{Host: "http://extensions", QPS: -1, Transport: passage{c, u}})
	if err != nil {
		return nil, err
	}
	return &Held{client, c}, nil
}

// Namespaced lists the resources in namespaces that can be listed and deleted, each in the version that its group
// prefers. The error, a *discovery.ErrGroupDiscoveryFailed, names the versions whose servers could not be asked; the list
// is good nevertheless.
func (h *Held) Namespaced() ([]schema.GroupVersionResource, error) {
	preferred, failed := h.preferred()
	var out []schema.GroupVersionResource
	for _, e := range preferred {
		for _, r := range e.Discovery.Resources {
			if r.Scope == apidiscoveryv2.ScopeNamespace && supports(r, "list", "delete") {
				out = append(out, e.WithResource(r.Resource))
			}
		}
	}
	if len(failed) > 0 {
		return out, &discovery.ErrGroupDiscoveryFailed{Groups: failed}
	}
	return out, nil
}

// preferred returns, by group, the version that each group of an extension server prefers, and the versions whose
// servers could not be asked.
func (h *Held) preferred() (out []*Extension, failed map[schema.GroupVersion]error) {
	best := map[string]*Extension{}
	failed = map[schema.GroupVersion]error{}
	for _, e := range h.c.Directory().List() {
		if e.Discovery.Freshness == apidiscoveryv2.DiscoveryFreshnessStale {
			failed[e.GroupVersion] = fmt.Errorf("stale GroupVersion discovery: %v", e.GroupVersion)
		}
		if known := best[e.Group]; known == nil || e.Priority.Version > known.Priority.Version {
			best[e.Group] = e
		}
	}
	return slices.SortedFunc(maps.Values(best), func(a, b *Extension) int { return cmp.Compare(a.Group, b.Group) }), failed
}

// Collectable lists the resources that can be listed, watched and deleted, each in the version that its group prefers.
// What a server that does not answer now has said before still holds.
func (h *Held) Collectable() []api.Resource {
	preferred, _ := h.preferred()
	var out []api.Resource
	for _, e := range preferred {
		for _, r := range e.Discovery.Resources {
			if r.ResponseKind == nil || !supports(r, "list", "watch", "delete") {
				continue
			}
			out = append(out, api.Resource{Group: e.Group, Version: e.Version, Name: r.Resource, Kind: r.ResponseKind.Kind,
				Namespaced: r.Scope == apidiscoveryv2.ScopeNamespace})
		}
	}
	return out
}

func supports(r apidiscoveryv2.APIResourceDiscovery, verbs ...string) bool {
	return !slices.ContainsFunc(verbs, func(v string) bool { return !slices.Contains(r.Verbs, v) })
}

// A passage brings requests of the server's own parts to extension servers.
type passage struct {
	c *Controller
	u user.Info
}

// RoundTrip implements http.RoundTripper.
func (p passage) RoundTrip(r *http.Request) (*http.Response, error) {
	parts := strings.SplitN(r.URL.Path, "/", 5) // "", apis, group, version, the rest
	if len(parts) < 5 {
		return nil, fmt.Errorf("%s is no path of an extension server", r.URL.Path)
	}
	e := p.c.Directory().Find(parts[2], parts[3])
	if e == nil || e.local != nil {
		return nil, fmt.Errorf("no APIService %s.%s names an extension server", parts[3], parts[2])
	}
	b := e.backend
	if b.err != nil {
		return nil, b.err
	}
	if !e.available {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("the server of APIService %s.%s is not available", parts[3], parts[2]))
	}
	to, err := b.resolver.ResolveEndpoint(b.namespace, b.name, b.port)
	if err != nil {
		return nil, err
	}
	to.Path, to.RawQuery = r.URL.Path, r.URL.RawQuery
	out := r.Clone(r.Context())
	out.URL, out.Host = to, to.Host
	return transport.NewAuthProxyRoundTripper(p.u.GetName(), p.u.GetUID(), p.u.GetGroups(), p.u.GetExtra(), b.transport).RoundTrip(out)
}
