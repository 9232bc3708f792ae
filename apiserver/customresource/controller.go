package customresource

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"golang.org/x/sync/errgroup"

	"clipper/api"
	"clipper/apiserver/resolve"
	"clipper/apiserver/served"
	"clipper/catalogue"
)

// retryEvery is how soon an unfinished deletion or a failed write is looked at again.
const retryEvery = time.Second

// Config is what a Controller is made of.
type Config struct {
	Client  api.Client
	Live    *served.Live
	Builtin []*catalogue.Resource // served always, Definition among them
	Self    *resolve.Loopback     // where webhooks are called that are behind the server's own API
	Changed func()                // called after the table was swapped: documents made from it are old
}

// A Controller accepts definitions, serves their kinds, and empties those that are being deleted.
type Controller struct {
	Config
	converters *converters
	among      *warmth
	synced     atomic.Bool // all definitions have been looked at once
	known      map[types.UID]described
	settled    map[*apiextensionsv1.CustomResourceDefinition]bool // nothing about these is left to do
	nudge      chan struct{}
	leaving    chan struct{} // nudges the clean-up, which may take long and so has a goroutine of its own
}

// described keeps the description of a definition that has not changed.
type described struct {
	of       *apiextensionsv1.CustomResourceDefinition
	resource *catalogue.Resource
	replace  context.CancelFunc
}

// holds says whether the description is d's as well.
func (k described) holds(d *apiextensionsv1.CustomResourceDefinition) bool {
	return k.of == d || k.of != nil && k.of.Generation == d.Generation && (k.of.DeletionTimestamp == nil) == (d.DeletionTimestamp == nil) &&
		equality.Semantic.DeepEqual(k.of.Status.AcceptedNames, d.Status.AcceptedNames)
}

// New returns a controller that does nothing yet.
func New(c Config) *Controller {
	return &Controller{Config: c, converters: newConverters(c.Client, c.Self), among: newWarmth(), known: map[types.UID]described{}, nudge: make(chan struct{}, 1), leaving: make(chan struct{}, 1)}
}

// Run keeps the table in step until ctx ends. The first look is taken before anything is waited for.
func (c *Controller) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return ended(ctx, Definitions.View(c.Client).Watch(ctx, func(api.Event) { poke(c.nudge) }))
	})
	group.Go(func() error { return look(ctx, c.nudge, c.sync) })
	group.Go(func() error { return look(ctx, c.leaving, c.clean) })
	group.Go(func() error { return c.among.Run(ctx) })
	return group.Wait()
}

// look calls fn now, whenever nudge says so, and again after a while if something is unfinished.
func look(ctx context.Context, nudge <-chan struct{}, fn func(context.Context) (again bool)) error {
	for {
		var retry <-chan time.Time
		if fn(ctx) {
			retry = time.After(retryEvery)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-nudge:
		case <-retry:
		}
	}
}

// sync is Sync for the loop.
func (c *Controller) sync(ctx context.Context) (again bool) {
	err := c.Sync(ctx)
	if err != nil && ctx.Err() == nil {
		slog.Warn("custom resource definitions not in step; trying again", "err", err)
	}
	poke(c.leaving) // what is being deleted is served as such now
	return err != nil
}

func poke(nudge chan<- struct{}) {
	select {
	case nudge <- struct{}{}:
	default: // a look is due already
	}
}

func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Sync takes one look at all definitions.
func (c *Controller) Sync(ctx context.Context) (err error) {
	if err := Definitions.View(c.Client).WaitSynced(ctx); err != nil {
		return err
	}
	all := Definitions.View(c.Client).List("")
	settled := make(map[*apiextensionsv1.CustomResourceDefinition]bool, len(all))
	for i, d := range all {
		if !c.settled[d] {
			if all[i], err = c.accept(ctx, d, all); err != nil {
				return err
			}
		}
		if d = all[i]; d.DeletionTimestamp == nil && apihelpers.IsCRDConditionTrue(d, apiextensionsv1.NamesAccepted) && isEstablished(d) {
			settled[d] = true // no other definition can change it any more
		}
	}
	c.settled = settled
	if err := c.serve(all); err != nil {
		return err
	}
	c.synced.Store(true)
	return nil
}

// Ready says whether the kinds of all definitions that were there at the start are served.
func (c *Controller) Ready(context.Context) error {
	if !c.synced.Load() {
		return errors.New("custom resource definitions have not all been looked at yet")
	}
	return nil
}

// accept brings a definition's status up to date.
func (c *Controller) accept(ctx context.Context, d *apiextensionsv1.CustomResourceDefinition, all []*apiextensionsv1.CustomResourceDefinition) (*apiextensionsv1.CustomResourceDefinition, error) {
	now := metav1.Now().Rfc3339Copy()
	wanted := status(d, all, now)
	if equality.Semantic.DeepEqual(*wanted, d.Status) {
		return d, nil
	}
	next := d.DeepCopy()
	next.Status = *wanted
	updated, err := Definitions.UpdateStatus(ctx, c.Client, next)
	switch {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return d, nil // it has changed meanwhile, and another look is due
	case err != nil:
		return nil, fmt.Errorf("status of definition %s: %w", d.Name, err)
	}
	return updated, nil
}

// isBuiltin says whether there is a kind of d's name without d. That one stays what it is.
func (c *Controller) isBuiltin(d *apiextensionsv1.CustomResourceDefinition) bool {
	return slices.ContainsFunc(c.Builtin, func(r *catalogue.Resource) bool {
		return r.Group == d.Spec.Group && r.Name == d.Status.AcceptedNames.Plural
	})
}

// withoutBuiltin returns d as it is served: the versions of its group that the server has of its own take no more
// kinds, as upstream answers for these before it looks at definitions.
func (c *Controller) withoutBuiltin(d *apiextensionsv1.CustomResourceDefinition) *apiextensionsv1.CustomResourceDefinition {
	builtin := func(v apiextensionsv1.CustomResourceDefinitionVersion) bool {
		return slices.ContainsFunc(c.Builtin, func(r *catalogue.Resource) bool {
			return r.Group == d.Spec.Group && (r.Version == v.Name || slices.ContainsFunc(r.Also, func(also catalogue.Version) bool { return also.Version == v.Name }))
		})
	}
	if !slices.ContainsFunc(d.Spec.Versions, builtin) {
		return d
	}
	d = d.DeepCopy()
	for i := range d.Spec.Versions {
		if builtin(d.Spec.Versions[i]) {
			d.Spec.Versions[i].Served = false
		}
	}
	return d
}

// serve swaps the table if the kinds that are to be served are not those that are.
func (c *Controller) serve(definitions []*apiextensionsv1.CustomResourceDefinition) error {
	resources := append(make([]*catalogue.Resource, 0, len(c.Builtin)+len(definitions)), c.Builtin...)
	known := make(map[types.UID]described, len(definitions))
	for _, d := range definitions {
		k := c.known[d.UID]
		if k.of != d && (!isEstablished(d) || c.isBuiltin(d)) {
			continue
		}
		if !k.holds(d) {
			replaced, replace := context.WithCancel(context.Background())
			r, err := describe(replaced, c.withoutBuiltin(d), c.converters, c.among)
			if err != nil {
				replace()
				slog.Error("custom resource cannot be served", "definition", d.Name, "err", err)
				continue
			}
			k = described{resource: r, replace: replace}
		}
		k.of = d
		known[d.UID] = k
		resources = append(resources, k.resource)
	}
	defer func(before map[types.UID]described) {
		for uid, k := range before {
			if known[uid].resource != k.resource {
				k.replace()
			}
		}
	}(c.known)
	c.known = known
	before := c.Live.Table()
	if slices.Equal(resources, before.Resources) {
		return nil
	}
	table, err := before.With(resources)
	if err != nil {
		return err
	}
	c.Live.Swap(table)
	if c.Changed != nil {
		c.Changed()
	}
	return nil
}
