package aggregation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"clipper/api"
	"clipper/apiserver/customresource"
	"clipper/apiserver/served"
)

const (
	managedLabel = "kube-aggregator.kubernetes.io/automanaged"
	retryEvery   = time.Second
	createAtOnce = 16
)

// A Registrar keeps an APIService for every served group and version.
type Registrar struct {
	client  api.Client
	live    *served.Live
	local   []*Extension
	nudge   chan struct{}
	synced  atomic.Bool           // everything has been registered once
	offered []schema.GroupVersion // by the table that Changed was told of last
	trouble string                // what kept the APIServices out of step at the last look; "" for nothing
}

// NewRegistrar returns a registrar that does nothing yet. It also sees to it that extensions answered for in this
// process have an APIService, though not to what that says.
func NewRegistrar(c api.Client, live *served.Live, local ...*Extension) *Registrar {
	return &Registrar{client: c, live: live, local: local, nudge: make(chan struct{}, 1)}
}

// Changed tells the registrar that the served table is another one. Tables follow each other: one goroutine tells of all.
// A kind more in a group version that is registered is nothing to the registrar.
func (r *Registrar) Changed() {
	var offered []schema.GroupVersion
	for _, g := range r.live.Table().Groups {
		for _, v := range g.Versions {
			offered = append(offered, schema.GroupVersion{Group: g.Name, Version: v.Name})
		}
	}
	if !slices.Equal(offered, r.offered) {
		r.offered = offered
		r.poke()
	}
}

func (r *Registrar) poke() {
	select {
	case r.nudge <- struct{}{}:
	default: // a look is due already
	}
}

// Run registers until ctx ends.
func (r *Registrar) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := APIServices.View(r.client).Watch(ctx, func(api.Event) { r.poke() })
		if ctx.Err() != nil {
			return nil
		}
		return err
	})
	group.Go(func() error { return r.work(ctx) })
	return group.Wait()
}

func (r *Registrar) work(ctx context.Context) error {
	for {
		var retry <-chan time.Time
		if err := r.sync(ctx); ctx.Err() == nil {
			if r.report(err); err != nil {
				retry = time.After(retryEvery)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.nudge:
		case <-retry:
		}
	}
}

// report says what keeps the APIServices out of step, once, and when it is over: a definition may be unreadable for days.
func (r *Registrar) report(err error) {
	before := r.trouble
	r.trouble = ""
	if err != nil {
		r.trouble = err.Error()
	}
	switch {
	case r.trouble == before:
	case err != nil:
		slog.Warn("APIServices not in step; trying every second", "err", err)
	default:
		slog.Info("APIServices in step again")
	}
}

func (r *Registrar) sync(ctx context.Context) error {
	wanted := registrations(r.live.Table())
	for _, e := range r.local {
		wanted[e.name()] = e.registration()
	}
	for _, have := range APIServices.View(r.client).List("") {
		want := wanted[have.Name]
		delete(wanted, have.Name)
		if err := r.keep(ctx, have, want); err != nil {
			return err
		}
	}
	if err := r.create(ctx, wanted); err != nil {
		return err
	}
	r.synced.Store(true)
	return nil
}

// create makes the registrations that are missing: at once, so that a new cluster need not wait for the disk for each.
func (r *Registrar) create(ctx context.Context, missing map[string]*apiregistrationv1.APIService) error {
	var creating errgroup.Group
	creating.SetLimit(createAtOnce)
	for name, want := range missing {
		creating.Go(func() error {
			if _, err := APIServices.Create(ctx, r.client, want); err != nil && !apierrors.IsAlreadyExists(err) {
				return fmt.Errorf("register APIService %s: %w", name, err)
			}
			return nil
		})
	}
	return creating.Wait()
}

// Ready says whether everything that is served has been registered since the start.
func (r *Registrar) Ready(context.Context) error {
	if !r.synced.Load() {
		return errors.New("not every group and version has its APIService yet")
	}
	return nil
}

// keep brings one registration into its wanted state; nil means that nothing is served under it any more.
func (r *Registrar) keep(ctx context.Context, have, want *apiregistrationv1.APIService) error {
	managed := have.Labels[managedLabel] != ""
	var err error
	switch status, stale := local.apply(have, metav1.Now().Rfc3339Copy()); {
	case want == nil && managed:
		if err := r.sure(); err != nil {
			return fmt.Errorf("APIService %s: not served, and kept: %w", have.Name, err)
		}
		err = APIServices.Delete(ctx, r.client, "", have.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &have.UID}})
	case want != nil && managed && !equality.Semantic.DeepEqual(have.Spec, want.Spec):
		next := have.DeepCopy()
		next.Spec = want.Spec
		_, err = APIServices.Update(ctx, r.client, next)
	case stale && have.Spec.Service == nil:
		next := have.DeepCopy()
		next.Status = status
		_, err = APIServices.UpdateStatus(ctx, r.client, next)
	}
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // it has changed meanwhile, and another look is due
	}
	if err != nil {
		return fmt.Errorf("APIService %s: %w", have.Name, err)
	}
	return nil
}

// sure returns an error while there are definitions that cannot be read: what they define may only seem not to be served.
func (r *Registrar) sure() error {
	if p, ok := r.client.View(customresource.Definitions.Resource).(api.Partial); ok {
		return p.Complete("")
	}
	return nil
}

// registrations returns the APIServices of a table by name. The group that they are in has none itself.
func registrations(t *served.Table) map[string]*apiregistrationv1.APIService {
	out := map[string]*apiregistrationv1.APIService{}
	for _, g := range t.Groups {
		if g.Name == APIServices.Group {
			continue
		}
		for _, v := range g.Versions {
			name := v.Name + "." + g.Name
			p, builtin := served.PriorityOf(g.Name, v.Name)
			managed := "onstart"
			if !builtin {
				managed = "true"
			}
			out[name] = &apiregistrationv1.APIService{
				ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{managedLabel: managed}},
				Spec: apiregistrationv1.APIServiceSpec{
					Group: g.Name, Version: v.Name, GroupPriorityMinimum: p.Group, VersionPriority: p.Version,
				},
			}
		}
	}
	return out
}
