package aggregation

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"clipper/api"
	"clipper/apiserver/served"
)

// How often a server is asked again: while all is well, and from the first failure on.
const (
	checkEvery   = 30 * time.Second
	refreshEvery = time.Minute
	retryFirst   = 100 * time.Millisecond
	retryLast    = 30 * time.Second
)

// A follower keeps one APIService's extension in step with its server.
type follower struct {
	c     *Controller
	nudge chan struct{}
	stop  context.CancelFunc

	mu      sync.Mutex
	service *apiregistrationv1.APIService
	current *Extension // never changed, only replaced
}

func newFollower(c *Controller, s *apiregistrationv1.APIService) *follower {
	f := &follower{c: c, nudge: make(chan struct{}, 1)}
	f.update(s)
	return f
}

// update takes a new state of the APIService. What is known of the server stays if it is the same one.
func (f *follower) update(s *apiregistrationv1.APIService) {
	f.mu.Lock()
	defer f.mu.Unlock()
	was, old := f.current, f.service
	f.service = s
	available := isAvailable(s)
	if old != nil && sameSpec(old, s) {
		if was.available != available {
			next := *was
			next.available = available
			f.current = &next
		}
		return
	}
	e := &Extension{
		GroupVersion: schema.GroupVersion{Group: s.Spec.Group, Version: s.Spec.Version},
		Priority:     served.Priority{Group: s.Spec.GroupPriorityMinimum, Version: s.Spec.VersionPriority},
		Discovery:    apidiscoveryv2.APIVersionDiscovery{Version: s.Spec.Version, Freshness: apidiscoveryv2.DiscoveryFreshnessStale},
		available:    available,
		backend:      newBackend(&s.Spec, f.c.Identity, f.c.resolver, f.c.Dial),
	}
	if was != nil {
		was.backend.close()
		e.Discovery.Resources = was.Discovery.Resources
	}
	f.current = e
	f.poke()
}

func (f *follower) extension() *Extension {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current
}

func (f *follower) state() (*apiregistrationv1.APIService, *Extension) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.service, f.current
}

func (f *follower) uses(namespace, name string) bool {
	s, _ := f.state()
	return s.Spec.Service.Namespace == namespace && s.Spec.Service.Name == name
}

// poke asks for another look soon.
func (f *follower) poke() {
	select {
	case f.nudge <- struct{}{}:
	default: // one is due already
	}
}

// run looks at the server when something has changed and from time to time, until ctx ends.
func (f *follower) run(ctx context.Context) {
	defer func() { f.extension().backend.close() }()
	var refreshed time.Time
	var of *backend
	wait := retryFirst
	for ctx.Err() == nil {
		pause := checkEvery
		_, e := f.state()
		if of != e.backend {
			of, refreshed, wait = e.backend, time.Time{}, retryFirst
		}
		switch ok := f.check(ctx); {
		case !ok:
			pause, wait = wait, min(2*wait, retryLast)
			refreshed = time.Time{}
			f.refresh(ctx, e) // a server that is not available may say all the same what it would serve
		case time.Since(refreshed) >= refreshEvery:
			if f.refresh(ctx, e) {
				refreshed, wait = time.Now(), retryFirst
				break
			}
			pause, wait = wait, min(2*wait, retryLast)
		}
		select {
		case <-ctx.Done():
		case <-f.nudge:
		case <-time.After(pause):
		}
	}
}

// check finds out whether the server can be reached, and writes it down.
func (f *follower) check(ctx context.Context) bool {
	s, e := f.state()
	ref := s.Spec.Service
	svc, found := api.Services.View(f.c.Client).Get(ref.Namespace, ref.Name)
	if !found {
		svc = nil
	}
	endpoints := api.EndpointSlices.View(f.c.Client).ByIndex(api.ByService, ref.Namespace+"/"+ref.Name)
	v, ok := prerequisites(&s.Spec, svc, endpoints)
	if ok {
		v = probe(ctx, e)
	}
	if ctx.Err() != nil {
		return false
	}
	if err := f.c.write(ctx, s, v); err != nil {
		slog.Warn("availability not written; trying again", "apiservice", s.Name, "err", err)
		return false
	}
	return v == passed
}

// refresh asks the server what it serves.
func (f *follower) refresh(ctx context.Context, e *Extension) bool {
	d, err := e.fetchDiscovery(ctx)
	if err != nil {
		slog.Debug("discovery of an extension server failed", "apiservice", e.Version+"."+e.Group, "err", err)
		f.stale()
		return false
	}
	d.Freshness = apidiscoveryv2.DiscoveryFreshnessCurrent
	v3, v2 := e.fetchOpenAPI(ctx, e.OpenAPIV2)
	f.replace(e.backend, func(next *Extension) { next.Discovery, next.OpenAPIV3, next.OpenAPIV2 = d, v3, v2 })
	return true
}

// stale marks what is known of the server as no longer sure.
func (f *follower) stale() {
	f.replace(f.extension().backend, func(next *Extension) { next.Discovery.Freshness = apidiscoveryv2.DiscoveryFreshnessStale })
}

// replace publishes a changed extension, unless it is about another server meanwhile.
func (f *follower) replace(b *backend, change func(*Extension)) {
	f.mu.Lock()
	if f.current.backend != b {
		f.mu.Unlock()
		return
	}
	next := *f.current
	change(&next)
	same := equality.Semantic.DeepEqual(next.Discovery, f.current.Discovery) && next.OpenAPIV3 == f.current.OpenAPIV3 && next.OpenAPIV2 == f.current.OpenAPIV2
	if !same {
		f.current = &next
	}
	f.mu.Unlock()
	if !same {
		f.c.publish()
	}
}

func splitKey(key string) (namespace, name string) {
	namespace, name, _ = strings.Cut(key, "/")
	return namespace, name
}
