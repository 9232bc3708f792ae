package customresource

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"golang.org/x/sync/errgroup"

	"clipper/api"
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
	Changed func()                // called after the table was swapped: documents made from it are old
}

// A Controller accepts definitions, serves their kinds, and empties those that are being deleted.
type Controller struct {
	Config
	converters *converters
	known      map[types.UID]described
	settled    map[types.UID]string // the revision at which nothing about a definition was left to do
	nudge      chan struct{}
}

// described keeps the description of a definition that has not changed.
type described struct {
	generation int64
	status     apiextensionsv1.CustomResourceDefinitionNames
	deleting   bool
	resource   *catalogue.Resource
}

// New returns a controller that does nothing yet.
func New(c Config) *Controller {
	return &Controller{Config: c, converters: newConverters(c.Client), known: map[types.UID]described{}, settled: map[types.UID]string{}, nudge: make(chan struct{}, 1)}
}

// Run keeps the table in step until ctx ends. The first look is taken before anything is waited for.
func (c *Controller) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return ended(ctx, Definitions.View(c.Client).Watch(ctx, func(api.Event) { c.poke() }))
	})
	group.Go(func() error { return c.work(ctx) })
	return group.Wait()
}

func (c *Controller) poke() {
	select {
	case c.nudge <- struct{}{}:
	default: // a look is due already
	}
}

func (c *Controller) work(ctx context.Context) error {
	for {
		again, err := c.Sync(ctx)
		if err != nil && ctx.Err() == nil {
			slog.Warn("custom resource definitions not in step; trying again", "err", err)
			again = true
		}
		var retry <-chan time.Time
		if again {
			retry = time.After(retryEvery)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.nudge:
		case <-retry:
		}
	}
}

func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Sync takes one look at all definitions. again says that something is unfinished.
func (c *Controller) Sync(ctx context.Context) (again bool, err error) {
	if err := Definitions.View(c.Client).WaitSynced(ctx); err != nil {
		return true, err
	}
	var kept []*apiextensionsv1.CustomResourceDefinition
	settled := c.settled
	c.settled = map[types.UID]string{}
	all := Definitions.View(c.Client).List("")
	for i, d := range all {
		if settled[d.UID] != d.ResourceVersion {
			if all[i], err = c.accept(ctx, d, all); err != nil {
				return true, err
			}
		}
		if d = all[i]; d.DeletionTimestamp == nil && apihelpers.IsCRDConditionTrue(d, apiextensionsv1.NamesAccepted) && isEstablished(d) {
			c.settled[d.UID] = d.ResourceVersion // no other definition can change it any more
		}
		kept = append(kept, d)
	}
	if err := c.serve(kept); err != nil {
		return true, err
	}
	for _, d := range kept {
		if d.DeletionTimestamp == nil {
			continue
		}
		done, err := c.empty(ctx, d)
		if err != nil {
			return true, err
		}
		again = again || !done
	}
	return again, nil
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

// serve swaps the table if the kinds that are to be served are not those that are.
func (c *Controller) serve(definitions []*apiextensionsv1.CustomResourceDefinition) error {
	resources := slices.Clone(c.Builtin)
	known := map[types.UID]described{}
	for _, d := range definitions {
		if !isEstablished(d) {
			continue
		}
		k, ok := c.known[d.UID]
		if !ok || k.generation != d.Generation || k.deleting != (d.DeletionTimestamp != nil) || !equality.Semantic.DeepEqual(k.status, d.Status.AcceptedNames) {
			r, err := describe(d, c.converters)
			if err != nil {
				slog.Error("custom resource cannot be served", "definition", d.Name, "err", err)
				continue
			}
			k = described{d.Generation, d.Status.AcceptedNames, d.DeletionTimestamp != nil, r}
		}
		known[d.UID] = k
		resources = append(resources, k.resource)
	}
	c.known = known
	if slices.Equal(resources, c.Live.Table().Resources) {
		return nil
	}
	table, err := served.NewTable(resources)
	if err != nil {
		return err
	}
	c.Live.Swap(table)
	if c.Changed != nil {
		c.Changed()
	}
	return nil
}

// empty deletes the objects of a definition that is going, then lets it go.
func (c *Controller) empty(ctx context.Context, d *apiextensionsv1.CustomResourceDefinition) (done bool, err error) {
	const finalizer = apiextensionsv1.CustomResourceCleanupFinalizer
	if !slices.Contains(d.Finalizers, finalizer) {
		return true, nil
	}
	if k, ok := c.known[d.UID]; ok {
		objects, _, err := c.Client.List(ctx, k.resource.Resource, "", metav1.ListOptions{})
		if err != nil {
			return false, fmt.Errorf("definition %s: list its objects: %w", d.Name, err)
		}
		left := 0
		for _, o := range objects {
			if o.GetDeletionTimestamp() == nil {
				if err := c.Client.Delete(ctx, k.resource.Resource, o.GetNamespace(), o.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
					return false, fmt.Errorf("definition %s: delete %s/%s: %w", d.Name, o.GetNamespace(), o.GetName(), err)
				}
			}
			if len(o.GetFinalizers()) > 0 {
				left++
			}
		}
		if left > 0 {
			return false, nil
		}
	}
	final := emptied
	if !isEstablished(d) {
		final = neverServed
	}
	next := d.DeepCopy()
	setCondition(&next.Status, final, metav1.Now().Rfc3339Copy())
	next.Finalizers = slices.DeleteFunc(next.Finalizers, func(f string) bool { return f == finalizer })
	_, err = Definitions.UpdateStatus(ctx, c.Client, next)
	if apierrors.IsNotFound(err) {
		err = nil
	}
	return err == nil, err
}
