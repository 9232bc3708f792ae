// Package remote is the api.Client of a process without a server: it speaks HTTPS, in protobuf, and keeps
// in memory what it watches.
//
// A client is built for one node. Its view of pods holds the pods bound to that node; its views of
// ConfigMaps and Secrets hold what those pods refer to, each followed by a watch of its own, because that
// is all that a node is allowed to see. Other views hold everything of their resource.
package remote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"clipper/api"
)

// Client implements api.Client. Views are current while Run runs.
type Client struct {
	config   *rest.Config
	http     *http.Client
	nodeName string

	mu      sync.Mutex
	rests   map[schema.GroupVersion]*rest.RESTClient
	views   map[api.Resource]*view
	run     context.Context // nil until Run
	started sync.WaitGroup
	stopped bool
}

// New returns a client of the server that config describes. nodeName restricts its views to what a node
// may see; "" does not.
func New(config *rest.Config, nodeName string) (*Client, error) {
	c := rest.CopyConfig(config)
	c.ContentType = runtime.ContentTypeProtobuf
	c.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	c.QPS = -1 // the server has its own notion of fairness
	if c.UserAgent == "" {
		c.UserAgent = "clipper-agent"
	}
	h, err := rest.HTTPClientFor(c)
	if err != nil {
		return nil, fmt.Errorf("set up the connection to %s: %w", config.Host, err)
	}
	return &Client{config: c, http: h, nodeName: nodeName,
		rests: map[schema.GroupVersion]*rest.RESTClient{}, views: map[api.Resource]*view{}}, nil
}

// Run keeps the views current until ctx ends.
func (c *Client) Run(ctx context.Context) error {
	c.mu.Lock()
	if c.run != nil {
		c.mu.Unlock()
		return errors.New("api/remote: Run was called twice")
	}
	c.run = ctx
	for _, v := range c.views {
		c.startLocked(v)
	}
	c.mu.Unlock()
	<-ctx.Done()
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
	c.started.Wait()
	return ctx.Err()
}

// startLocked begins to fill a view. c.mu is held.
func (c *Client) startLocked(v *view) {
	if c.run == nil || c.stopped {
		return
	}
	c.started.Go(func() { v.fill(c.run) })
}

// View implements api.Client.
func (c *Client) View(r api.Resource) api.View {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.views[r]
	if v == nil {
		v = newView(c, r)
		c.views[r] = v
		c.startLocked(v)
	}
	return v
}

// selector returns what the view of a resource is restricted to.
func (c *Client) selector(r api.Resource) fields.Selector {
	switch {
	case c.nodeName == "":
	case r == api.Pods.Resource:
		return fields.OneTermEqualSelector("spec.nodeName", c.nodeName)
	case r == api.Leases.Resource:
		return fields.OneTermEqualSelector("metadata.name", c.nodeName)
	}
	return fields.Everything()
}

// rest returns the client of a group and version.
func (c *Client) rest(r api.Resource) (*rest.RESTClient, error) {
	gv := schema.GroupVersion{Group: r.Group, Version: r.Version}
	c.mu.Lock()
	defer c.mu.Unlock()
	if rc := c.rests[gv]; rc != nil {
		return rc, nil
	}
	cfg := rest.CopyConfig(c.config)
	cfg.GroupVersion = &gv
	cfg.APIPath = "/apis"
	if gv.Group == "" {
		cfg.APIPath = "/api"
	}
	cfg.NegotiatedSerializer = rest.CodecFactoryForGeneratedClient(scheme.Scheme, scheme.Codecs).WithoutConversion()
	rc, err := rest.RESTClientForConfigAndClient(cfg, c.http)
	if err != nil {
		return nil, fmt.Errorf("set up requests for %s: %w", gv, err)
	}
	c.rests[gv] = rc
	return rc, nil
}

func newObject(gvk schema.GroupVersionKind) (api.Object, error) {
	o, err := scheme.Scheme.New(gvk)
	if err != nil {
		return nil, fmt.Errorf("api/remote knows built-in kinds only: %w", err)
	}
	return o.(api.Object), nil
}

// do sends a request that is answered with an object like into.
func do(ctx context.Context, req *rest.Request, into api.Object) (api.Object, error) {
	if err := req.Do(ctx).Into(into); err != nil {
		return nil, err
	}
	return into, nil
}

// Get implements api.Client.
func (c *Client) Get(ctx context.Context, r api.Resource, namespace, name string) (api.Object, error) {
	rc, err := c.rest(r)
	if err != nil {
		return nil, err
	}
	into, err := newObject(r.GVK())
	if err != nil {
		return nil, err
	}
	return do(ctx, rc.Get().NamespaceIfScoped(namespace, r.Namespaced).Resource(r.Name).Name(name), into)
}

// List implements api.Client.
func (c *Client) List(ctx context.Context, r api.Resource, namespace string, o metav1.ListOptions) ([]api.Object, string, error) {
	list, err := c.list(ctx, r, namespace, o)
	if err != nil {
		return nil, "", err
	}
	objects, revision, err := items(list)
	return objects, revision, err
}

// Create implements api.Client.
func (c *Client) Create(ctx context.Context, r api.Resource, obj api.Object, o metav1.CreateOptions) (api.Object, error) {
	rc, err := c.rest(r)
	if err != nil {
		return nil, err
	}
	into, err := newObject(r.GVK())
	if err != nil {
		return nil, err
	}
	return do(ctx, rc.Post().NamespaceIfScoped(obj.GetNamespace(), r.Namespaced).Resource(r.Name).
		VersionedParams(&o, scheme.ParameterCodec).Body(obj), into)
}

// Update implements api.Client.
func (c *Client) Update(ctx context.Context, r api.Resource, subresource string, obj api.Object, o metav1.UpdateOptions) (api.Object, error) {
	rc, err := c.rest(r)
	if err != nil {
		return nil, err
	}
	into, err := newObject(r.GVK())
	if err != nil {
		return nil, err
	}
	req := rc.Put().NamespaceIfScoped(obj.GetNamespace(), r.Namespaced).Resource(r.Name).Name(obj.GetName())
	return do(ctx, sub(req, subresource).VersionedParams(&o, scheme.ParameterCodec).Body(obj), into)
}

func sub(req *rest.Request, subresource string) *rest.Request {
	if subresource == "" {
		return req
	}
	return req.SubResource(subresource)
}

// Patch implements api.Client.
func (c *Client) Patch(ctx context.Context, r api.Resource, namespace, name, subresource string, pt types.PatchType, data []byte, o metav1.PatchOptions) (api.Object, error) {
	rc, err := c.rest(r)
	if err != nil {
		return nil, err
	}
	into, err := newObject(r.GVK())
	if err != nil {
		return nil, err
	}
	req := rc.Patch(pt).NamespaceIfScoped(namespace, r.Namespaced).Resource(r.Name).Name(name)
	return do(ctx, sub(req, subresource).VersionedParams(&o, scheme.ParameterCodec).Body(data), into)
}

// Delete implements api.Client.
func (c *Client) Delete(ctx context.Context, r api.Resource, namespace, name string, o metav1.DeleteOptions) error {
	rc, err := c.rest(r)
	if err != nil {
		return err
	}
	return rc.Delete().NamespaceIfScoped(namespace, r.Namespaced).Resource(r.Name).Name(name).Body(&o).Do(ctx).Error()
}

// CreateSubresource implements api.Client. The answer is of the body's kind, or a Status.
func (c *Client) CreateSubresource(ctx context.Context, r api.Resource, namespace, name, subresource string, body api.Object) (api.Object, error) {
	rc, err := c.rest(r)
	if err != nil {
		return nil, err
	}
	gvks, _, err := scheme.Scheme.ObjectKinds(body)
	if err != nil {
		return nil, err
	}
	into, err := newObject(gvks[0])
	if err != nil {
		return nil, err
	}
	err = rc.Post().NamespaceIfScoped(namespace, r.Namespaced).Resource(r.Name).Name(name).SubResource(subresource).
		VersionedParams(&metav1.CreateOptions{}, scheme.ParameterCodec).Body(body).Do(ctx).Into(into)
	if err != nil {
		return nil, err
	}
	return into, nil
}

var _ api.Client = (*Client)(nil)
