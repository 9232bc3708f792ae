package customresource

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/api"
)

// clean takes one look at the definitions that are being deleted: their objects go first. again says that
// some are still there. One that cannot be emptied does not keep the others.
func (c *Controller) clean(ctx context.Context) (again bool) {
	for _, d := range Definitions.View(c.Client).List("") {
		if d.DeletionTimestamp == nil || isDone(d) {
			continue
		}
		found, err := c.empty(ctx, d)
		gone := false
		switch {
		case err != nil:
		case found:
			poke(c.leaving) // only what was looked for and not found is gone: one may just have come
		default:
			gone, err = c.release(ctx, d)
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, errLeft) {
			slog.Warn("custom resources not removed; trying again", "definition", d.Name, "err", err)
		}
		again = again || !gone
	}
	return again
}

// maxFaults is how many objects may refuse to go before the rest is left for the next look.
const maxFaults = 5

// errLeft says that objects wait for somebody to take a finalizer away.
var errLeft = errors.New("objects with finalizers are left")

// empty deletes the objects of a definition; found says that there were some.
func (c *Controller) empty(ctx context.Context, d *apiextensionsv1.CustomResourceDefinition) (found bool, err error) {
	if !isEstablished(d) || c.isBuiltin(d) {
		return false, nil
	}
	r, ok := c.resource(d)
	if !ok {
		return false, errors.New("not served as being deleted yet")
	}
	objects, _, err := c.Client.List(ctx, r, "", metav1.ListOptions{})
	if err != nil {
		return false, fmt.Errorf("list %s: %w", r.GroupResource(), err)
	}
	var errs []error
	left := false
	for _, o := range objects {
		if len(errs) == maxFaults {
			break
		}
		if o.GetDeletionTimestamp() == nil {
			if err := c.Client.Delete(ctx, r, o.GetNamespace(), o.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				errs = append(errs, fmt.Errorf("delete %s %s/%s: %w", r.GroupResource(), o.GetNamespace(), o.GetName(), err))
			}
		}
		left = left || len(o.GetFinalizers()) > 0
	}
	if left && len(errs) == 0 {
		return true, errLeft
	}
	return len(objects) > 0, errors.Join(errs...)
}

// resource finds what d is served as.
func (c *Controller) resource(d *apiextensionsv1.CustomResourceDefinition) (api.Resource, bool) {
	for _, r := range c.Live.Table().Resources {
		if r.Custom != nil && strings.HasPrefix(r.Custom.ID, "/"+string(d.UID)+"/") && r.Custom.Terminating {
			return r.Resource, true
		}
	}
	return api.Resource{}, false
}

// storedAlike are the built-in kinds that are stored where custom ones of their names would be.
var storedAlike = []schema.GroupResource{
	{Group: "apiregistration.k8s.io", Resource: "apiservices"},
	Definitions.GroupResource(),
}

// release lets an empty definition go.
func (c *Controller) release(ctx context.Context, d *apiextensionsv1.CustomResourceDefinition) (done bool, err error) {
	final := emptied
	switch {
	case slices.Contains(storedAlike, schema.GroupResource{Group: d.Spec.Group, Resource: d.Spec.Names.Plural}):
		final = overlapping
	case !isEstablished(d):
		final = neverServed
	}
	next := d.DeepCopy()
	setCondition(&next.Status, final, metav1.Now().Rfc3339Copy())
	next.Finalizers = slices.DeleteFunc(next.Finalizers, func(f string) bool { return f == apiextensionsv1.CustomResourceCleanupFinalizer })
	_, err = Definitions.UpdateStatus(ctx, c.Client, next)
	switch {
	case err == nil || apierrors.IsNotFound(err):
		return true, nil
	case apierrors.IsConflict(err):
		return false, nil // it has changed meanwhile
	}
	return false, fmt.Errorf("release %s: %w", d.Name, err)
}
