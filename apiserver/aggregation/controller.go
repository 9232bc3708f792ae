package aggregation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"clipper/api"
	"clipper/apiserver/clientcert"
	"clipper/apiserver/resolve"
)

// Config is what a Controller is made of.
type Config struct {
	Client api.Client
	// Identity is the client certificate that makes extension servers believe who the user is.
	Identity clientcert.Identity
	// Dial connects to an endpoint; nil is an ordinary dial.
	Dial dialFunc
	// Self is where the API server's own service leads to; nil: not elsewhere than any service.
	Self *resolve.Loopback
	// Local are the group versions that are answered for in this process, unless an APIService says otherwise.
	Local []*Extension
	// Changed is called after what extension servers serve has changed. It may be nil.
	Changed func()
}

// A Controller keeps a directory of the extension servers that APIServices name: whether they can be
// reached, and what they serve.
type Controller struct {
	Config
	resolver  resolver
	metrics   *metrics
	directory atomic.Pointer[Directory]
	synced    atomic.Bool // all APIServices have been looked at once

	mu        sync.Mutex
	followers map[string]*follower // by the APIService's name
}

// New returns a controller that does nothing yet.
func New(c Config) *Controller {
	list := func() []*apiregistrationv1.APIService { return APIServices.View(c.Client).List("") }
	return &Controller{Config: c, resolver: resolve.New(c.Client, c.Self), metrics: newMetrics(list), followers: map[string]*follower{}}
}

// Directory returns the extensions of this moment. It may be nil: there are none.
func (c *Controller) Directory() *Directory { return c.directory.Load() }

// Run follows APIServices, and the services and endpoints that they need, until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	watch := func(view api.View, fn func(api.Event)) {
		group.Go(func() error {
			if err := view.Watch(ctx, fn); ctx.Err() == nil {
				return err
			}
			return nil
		})
	}
	watch(c.Client.View(APIServices.Resource), func(e api.Event) {
		if e.Type == api.Synced {
			c.synced.Store(true)
			return
		}
		c.changed(ctx, group, e)
	})
	watch(c.Client.View(api.Services.Resource), func(e api.Event) {
		if e.Type != api.Synced {
			c.poke(e.Object().GetNamespace(), e.Object().GetName())
		}
	})
	watch(c.Client.View(api.EndpointSlices.Resource), func(e api.Event) {
		if e.Type == api.Synced {
			return
		}
		for _, key := range api.Indexes[api.EndpointSlices.Resource][api.ByService](e.Object()) {
			namespace, name := splitKey(key)
			c.poke(namespace, name)
		}
	})
	return group.Wait()
}

// Ready says whether the directory has all that is registered, if only as stale.
func (c *Controller) Ready(context.Context) error {
	if !c.synced.Load() {
		return errors.New("APIServices have not been read yet")
	}
	directory := c.Directory()
	for _, e := range c.locals() {
		if directory.Find(e.Group, e.Version) != e {
			return fmt.Errorf("APIService %s is not in the discovery documents yet", e.name())
		}
	}
	return nil
}

// changed starts, tells or stops the follower of an APIService.
func (c *Controller) changed(ctx context.Context, group *errgroup.Group, e api.Event) {
	s := e.Object().(*apiregistrationv1.APIService)
	wanted := e.Type != api.Deleted && s.Spec.Service != nil
	c.mu.Lock()
	f := c.followers[s.Name]
	switch {
	case f == nil && wanted:
		f = newFollower(c, s)
		c.followers[s.Name] = f
		var inner context.Context
		inner, f.stop = context.WithCancel(ctx)
		group.Go(func() error { f.run(inner); return nil })
	case f != nil && !wanted:
		f.stop()
		delete(c.followers, s.Name)
	case f != nil:
		f.update(s)
	}
	c.mu.Unlock()
	if f != nil || c.isLocal(s.Name) {
		c.publish()
	}
}

// poke lets the followers of a service look at it again.
func (c *Controller) poke(namespace, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.followers {
		if f.uses(namespace, name) {
			f.poke()
		}
	}
}

// publish swaps the directory if it is another one.
func (c *Controller) publish() {
	if c.swap() && c.Changed != nil {
		c.Changed()
	}
}

func (c *Controller) swap() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := &Directory{extensions: map[schema.GroupVersion]*Extension{}}
	was := c.directory.Load()
	locals := c.locals()
	same := len(c.followers)+len(locals) == len(was.List())
	for _, e := range locals {
		next.extensions[e.GroupVersion] = e
		same = same && was.Find(e.Group, e.Version) == e
	}
	for _, f := range c.followers {
		e := f.extension()
		next.extensions[e.GroupVersion] = e
		same = same && was.Find(e.Group, e.Version) == e
	}
	if !same {
		c.directory.Store(next)
	}
	return !same
}

// write brings an APIService's condition up to date.
func (c *Controller) write(ctx context.Context, s *apiregistrationv1.APIService, v verdict) error {
	status, changed := v.apply(s, metav1.Now().Rfc3339Copy())
	if !changed {
		return nil
	}
	next := s.DeepCopy()
	next.Status = status
	_, err := APIServices.UpdateStatus(ctx, c.Client, next)
	if err == nil {
		c.metrics.wrote(s, v)
		slog.Info("APIService availability changed", "apiservice", s.Name, "available", v.status, "reason", v.reason, "message", v.message)
	}
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // it has changed meanwhile, and another look is due
	}
	if err != nil {
		return fmt.Errorf("APIService %s: %w", s.Name, err)
	}
	return nil
}

func sameSpec(a, b *apiregistrationv1.APIService) bool {
	return equality.Semantic.DeepEqual(a.Spec, b.Spec)
}
