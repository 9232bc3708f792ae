package dns

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"clipper/api"
)

// liveRecords are the views, and an index of them by address for reverse questions.
type liveRecords struct {
	client api.Client
	synced map[api.Resource]chan struct{} // closed when the index has seen all of the kind

	mu   sync.RWMutex
	byIP map[netip.Addr]map[string]int // address → namespace/name of services → how many objects say so
}

var _ Records = (*liveRecords)(nil)

func newLiveRecords(client api.Client) *liveRecords {
	return &liveRecords{client: client, byIP: map[netip.Addr]map[string]int{}, synced: map[api.Resource]chan struct{}{
		api.Services.Resource: make(chan struct{}), api.EndpointSlices.Resource: make(chan struct{})}}
}

// run keeps the index until ctx ends.
func (r *liveRecords) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for kind, synced := range r.synced {
		done := sync.OnceFunc(func() { close(synced) })
		g.Go(func() error {
			return r.client.View(kind).Watch(ctx, func(e api.Event) {
				if e.Type == api.Synced {
					done()
					return
				}
				r.file(e.Old, -1)
				r.file(e.New, +1)
			})
		})
	}
	return g.Wait()
}

func (r *liveRecords) waitSynced(ctx context.Context) error {
	if err := r.client.View(api.Namespaces.Resource).WaitSynced(ctx); err != nil {
		return err
	}
	for _, synced := range r.synced {
		select {
		case <-synced:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// file adds or removes what an object says about addresses.
func (r *liveRecords) file(o api.Object, by int) {
	var keys, addrs []string
	switch o := o.(type) {
	case *corev1.Service:
		keys, addrs = []string{o.Namespace + "/" + o.Name}, append(slices.Clone(o.Spec.ClusterIPs), o.Spec.ClusterIP)
	case *discoveryv1.EndpointSlice:
		keys = api.Indexes[api.EndpointSlices.Resource][api.ByService](o)
		for i := range o.Endpoints {
			addrs = append(addrs, o.Endpoints[i].Addresses...)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range addrs {
		ip, err := netip.ParseAddr(a)
		if err != nil {
			continue
		}
		for _, k := range keys {
			r.count(ip, k, by)
		}
	}
}

func (r *liveRecords) count(ip netip.Addr, key string, by int) {
	if r.byIP[ip] == nil {
		r.byIP[ip] = map[string]int{}
	}
	if r.byIP[ip][key] += by; r.byIP[ip][key] == 0 {
		delete(r.byIP[ip], key)
	}
	if len(r.byIP[ip]) == 0 {
		delete(r.byIP, ip)
	}
}

// ByIP implements Records.
func (r *liveRecords) ByIP(ip netip.Addr) []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Sorted(maps.Keys(r.byIP[ip]))
}

// Service implements Records.
func (r *liveRecords) Service(namespace, name string) (*corev1.Service, bool) {
	return api.Services.View(r.client).Get(namespace, name)
}

// Slices implements Records.
func (r *liveRecords) Slices(namespace, name string) []*discoveryv1.EndpointSlice {
	return api.EndpointSlices.View(r.client).ByIndex(api.ByService, namespace+"/"+name)
}

// HasNamespace implements Records.
func (r *liveRecords) HasNamespace(name string) bool {
	_, ok := api.Namespaces.View(r.client).Get("", name)
	return ok
}
