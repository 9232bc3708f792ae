// Package inprocess is the api.Client of the parts that run in the server's own process. Reads and views
// are answered by the store with the store's own objects: nothing is copied, encoded or cached. Writes go
// through the pipeline like those from the network; they skip only authorization and HTTP.
//
// When a write returns, every view of the process shows it already: a part that decides from views after
// its own writes never sees the past.
package inprocess

import (
	"context"
	"net/http"
	"reflect"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"

	"clipper/api"
	"clipper/api/packed"
	"clipper/apiserver/pipeline"
	"clipper/apiserver/served"
	"clipper/catalogue"
	"clipper/store"
)

// A Client reads the store and writes through the pipeline in the name of one user.
type Client struct {
	door    pipeline.Door
	live    *served.Live
	store   *store.Store
	user    user.Info
	manager string
}

var _ api.Client = (*Client)(nil)

// New returns a client for u; manager is the field manager of its writes ("kube-controller-manager").
func New(d pipeline.Door, live *served.Live, s *store.Store, u user.Info, manager string) *Client {
	return &Client{door: d, live: live, store: s, user: u, manager: manager}
}

// As returns a client for another user and field manager.
func (c *Client) As(u user.Info, manager string) *Client {
	return New(c.door, c.live, c.store, u, manager)
}

// Resources lists every stored resource that is served now. The garbage collector asks.
func (c *Client) Resources() []api.Resource {
	var out []api.Resource
	for _, r := range c.live.Table().Resources {
		if r.Prefix != "" {
			out = append(out, r.Resource)
		}
	}
	return out
}

// Describe returns the description of a served resource, or nil. Admission asks for its defaults.
func (c *Client) Describe(r api.Resource) *catalogue.Resource { return c.live.Table().Resource(r) }

// Table returns what is served now.
func (c *Client) Table() *served.Table { return c.live.Table() }

func (c *Client) request(r api.Resource, subresource, namespace, name string) (*pipeline.Request, error) {
	found := c.live.Table().Resource(r)
	if found == nil {
		return nil, apierrors.NewGenericServerResponse(http.StatusNotFound, "", r.GroupResource(), name, "", 0, true)
	}
	if !r.Namespaced {
		namespace = ""
	}
	return &pipeline.Request{
		Resource: found, Subresource: subresource, Namespace: namespace, Name: name,
		User: c.user, Manager: c.manager,
	}, nil
}

// Get implements api.Client.
func (c *Client) Get(ctx context.Context, r api.Resource, namespace, name string) (api.Object, error) {
	req, err := c.request(r, "", namespace, name)
	if err != nil {
		return nil, err
	}
	it, err := c.door.Get(ctx, req)
	if err != nil {
		return nil, err
	}
	return it.Object, nil
}

// List implements api.Client.
func (c *Client) List(ctx context.Context, r api.Resource, namespace string, o metav1.ListOptions) ([]api.Object, string, error) {
	req, err := c.request(r, "", namespace, "")
	if err != nil {
		return nil, "", err
	}
	list, err := c.door.List(ctx, req, &o)
	if err != nil {
		return nil, "", err
	}
	return objects(list.Items), strconv.FormatInt(list.Revision, 10), nil
}

func objects(items []*store.Item) []api.Object {
	out := make([]api.Object, len(items))
	for i, it := range items {
		out[i] = it.Object
	}
	return out
}

// Create implements api.Client. Objects for writes are copied: the pipeline changes what it is given, and a
// part may have built its object around pieces of a shared one.
func (c *Client) Create(ctx context.Context, r api.Resource, obj api.Object, o metav1.CreateOptions) (api.Object, error) {
	req, err := c.request(r, "", obj.GetNamespace(), "")
	if err != nil {
		return nil, err
	}
	if obj, err = prepared(req, obj); err != nil {
		return nil, err
	}
	return written(c.door.Create(ctx, req, obj, &o))
}

// prepared brings a copy of obj into the form that it would have after a way over the network: times without
// fractions of seconds, empty lists absent, defaults filled in. What a client reads back must be what a
// client could have written.
func prepared(req *pipeline.Request, obj api.Object) (api.Object, error) {
	if req.Subresource != "status" { // which changes nothing that may be packed
		obj = packed.Open(obj) // it may be a copy of what a view returned
	}
	obj, err := transported(obj)
	if err != nil {
		return nil, err
	}
	if req.Resource.Default != nil && req.Subresource != "scale" {
		req.Resource.Default(obj)
	}
	return obj, nil
}

// message is what the types of k8s.io/api implement.
type message interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// transported encodes and decodes obj; that is also the copy.
func transported(obj api.Object) (api.Object, error) {
	m, ok := obj.(message)
	if !ok {
		return obj.DeepCopyObject().(api.Object), nil // custom resources are JSON values already
	}
	data, err := m.Marshal()
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	out := reflect.New(reflect.TypeOf(obj).Elem()).Interface()
	if err := out.(message).Unmarshal(data); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return out.(api.Object), nil
}

// Update implements api.Client.
func (c *Client) Update(ctx context.Context, r api.Resource, subresource string, obj api.Object, o metav1.UpdateOptions) (api.Object, error) {
	req, err := c.request(r, subresource, obj.GetNamespace(), obj.GetName())
	if err != nil {
		return nil, err
	}
	if obj, err = prepared(req, obj); err != nil {
		return nil, err
	}
	return written(c.door.Update(ctx, req, obj, &o))
}

// Patch implements api.Client.
func (c *Client) Patch(ctx context.Context, r api.Resource, namespace, name, subresource string, pt types.PatchType, data []byte, o metav1.PatchOptions) (api.Object, error) {
	req, err := c.request(r, subresource, namespace, name)
	if err != nil {
		return nil, err
	}
	return written(c.door.Patch(ctx, req, pt, data, &o))
}

// Delete implements api.Client.
func (c *Client) Delete(ctx context.Context, r api.Resource, namespace, name string, o metav1.DeleteOptions) error {
	req, err := c.request(r, "", namespace, name)
	if err != nil {
		return err
	}
	_, err = c.door.Delete(ctx, req, &o)
	return err
}

// CreateSubresource implements api.Client. A subresource that answers with a bare Status yields nil.
func (c *Client) CreateSubresource(ctx context.Context, r api.Resource, namespace, name, subresource string, body api.Object) (api.Object, error) {
	req, err := c.request(r, subresource, namespace, name)
	if err != nil {
		return nil, err
	}
	if body, err = transported(packed.Open(body)); err != nil {
		return nil, err
	}
	return written(c.door.Create(ctx, req, body, &metav1.CreateOptions{}))
}

func written(res *pipeline.Result, err error) (api.Object, error) {
	if err != nil {
		return nil, err
	}
	obj, _ := res.Object.(api.Object)
	return obj, nil
}

// View implements api.Client.
func (c *Client) View(r api.Resource) api.View {
	return view{c.store, prefix(c.live.Table().Resource(r), r)}
}

// prefix falls back to the form of custom resources: a part may watch for a kind before it is served.
func prefix(found *catalogue.Resource, r api.Resource) string {
	if found != nil {
		return found.Prefix
	}
	return r.Group + "/" + r.Name
}
