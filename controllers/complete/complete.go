// Package complete keeps a controller from acting on a picture that lacks something. A value that cannot be decrypted
// at the moment is not in any view; to a controller it looks as if it had been deleted, and what depends on it would
// be deleted too, detached, released, counted less or made a second time. So a controller writes nothing while one of
// the views that it has asked for is not complete where it writes, and tries again later.
package complete

import (
	"context"
	"errors"
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
)

// errLate: what was hidden can be read now, but the decision to write was made without it.
var errLate = errors.New("they can be again, from now on")

// Only returns c for one controller, with writes that need complete views. Views of others than the server's own process
// do not say what they lack; for them it changes nothing.
func Only(c api.Client) api.Client { return &client{Client: c} }

type client struct {
	api.Client

	mu    sync.RWMutex
	views map[api.Resource]api.Partial // that the controller has asked for
}

// View implements api.Client.
func (c *client) View(r api.Resource) api.View {
	v := c.Client.View(r)
	p, ok := v.(api.Partial)
	c.mu.RLock()
	_, known := c.views[r]
	c.mu.RUnlock()
	if !ok || known {
		return v
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.views == nil {
		c.views = map[api.Resource]api.Partial{}
	}
	c.views[r] = p
	return v
}

// check returns an error if what the controller looks at is not complete. A write in a namespace is based on what is in
// there and on what belongs to no namespace; any other write may be based on everything.
func (c *client) check(namespace string) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for r, p := range c.views {
		where := namespace
		if !r.Namespaced {
			where = ""
		}
		if !p.Hides(where) {
			continue
		}
		err := p.Complete(where) // tries to read it again
		if err == nil {
			err = errLate
		}
		return fmt.Errorf("held back, as not all %s can be read: %w", r.GroupResource(), err)
	}
	return nil
}

// Create implements api.Client.
func (c *client) Create(ctx context.Context, r api.Resource, obj api.Object, o metav1.CreateOptions) (api.Object, error) {
	if err := c.check(obj.GetNamespace()); err != nil {
		return nil, err
	}
	return c.Client.Create(ctx, r, obj, o)
}

// Update implements api.Client.
func (c *client) Update(ctx context.Context, r api.Resource, subresource string, obj api.Object, o metav1.UpdateOptions) (api.Object, error) {
	if err := c.check(obj.GetNamespace()); err != nil {
		return nil, err
	}
	return c.Client.Update(ctx, r, subresource, obj, o)
}

// Patch implements api.Client.
func (c *client) Patch(ctx context.Context, r api.Resource, namespace, name, subresource string, pt types.PatchType, data []byte, o metav1.PatchOptions) (api.Object, error) {
	if err := c.check(namespace); err != nil {
		return nil, err
	}
	return c.Client.Patch(ctx, r, namespace, name, subresource, pt, data, o)
}

// Delete implements api.Client.
func (c *client) Delete(ctx context.Context, r api.Resource, namespace, name string, o metav1.DeleteOptions) error {
	if err := c.check(namespace); err != nil {
		return err
	}
	return c.Client.Delete(ctx, r, namespace, name, o)
}

// CreateSubresource implements api.Client.
func (c *client) CreateSubresource(ctx context.Context, r api.Resource, namespace, name, subresource string, body api.Object) (api.Object, error) {
	if err := c.check(namespace); err != nil {
		return nil, err
	}
	return c.Client.CreateSubresource(ctx, r, namespace, name, subresource, body)
}
