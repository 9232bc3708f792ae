// Package apitest is an api.Client for tests: a plain map of objects, with resource versions, generated
// names, UIDs, conflicts, finalizers and live views, and without defaults, validation or admission.
package apitest

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"clipper/api"
)

// A Client holds its objects in memory. The zero value is empty and ready.
type Client struct {
	mu       sync.Mutex
	revision int64
	objects  map[api.Resource]map[string]api.Object
	log      []change
	grown    chan struct{} // closed and replaced when log grows

	// Before, if set, is asked before every write; an error refuses it. verb is create, update, delete,
	// or the name of a subresource.
	Before func(verb string, r api.Resource, obj api.Object) error
	// Subresource answers CreateSubresource.
	Subresource func(r api.Resource, namespace, name, subresource string, body api.Object) (api.Object, error)
}

type change struct {
	r api.Resource
	e api.Event
}

func key(namespace, name string) string { return namespace + "/" + name }

// Add stores objects as they are, whatever Before says.
func (c *Client) Add(r api.Resource, objs ...api.Object) {
	for _, o := range objs {
		c.mu.Lock()
		c.put(r, o.DeepCopyObject().(api.Object))
		c.mu.Unlock()
	}
}

func (c *Client) put(r api.Resource, o api.Object) {
	if c.objects == nil {
		c.objects = map[api.Resource]map[string]api.Object{}
	}
	if c.objects[r] == nil {
		c.objects[r] = map[string]api.Object{}
	}
	c.revision++
	o.SetResourceVersion(strconv.FormatInt(c.revision, 10))
	k := key(o.GetNamespace(), o.GetName())
	old := c.objects[r][k]
	c.objects[r][k] = o
	if old == nil {
		c.append(change{r, api.Event{Type: api.Added, New: o}})
	} else {
		c.append(change{r, api.Event{Type: api.Modified, Old: old, New: o}})
	}
}

func (c *Client) append(ch change) {
	c.log = append(c.log, ch)
	if c.grown != nil {
		close(c.grown)
	}
	c.grown = make(chan struct{})
}

// Get implements api.Client.
func (c *Client) Get(_ context.Context, r api.Resource, namespace, name string) (api.Object, error) {
	if o, ok := c.View(r).Get(namespace, name); ok {
		return o, nil
	}
	return nil, apierrors.NewNotFound(r.GroupResource(), name)
}

// List implements api.Client. It knows label selectors and nothing else.
func (c *Client) List(_ context.Context, r api.Resource, namespace string, o metav1.ListOptions) ([]api.Object, string, error) {
	sel, err := labels.Parse(o.LabelSelector)
	if err != nil {
		return nil, "", apierrors.NewBadRequest(err.Error())
	}
	var out []api.Object
	for _, obj := range c.View(r).List(namespace) {
		if sel.Matches(labels.Set(obj.GetLabels())) {
			out = append(out, obj)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return out, strconv.FormatInt(c.revision, 10), nil
}

// Create implements api.Client.
func (c *Client) Create(_ context.Context, r api.Resource, obj api.Object, _ metav1.CreateOptions) (api.Object, error) {
	if err := c.before("create", r, obj); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	obj = obj.DeepCopyObject().(api.Object)
	if obj.GetName() == "" {
		obj.SetName(fmt.Sprintf("%s%05d", obj.GetGenerateName(), c.revision))
	}
	if _, ok := c.objects[r][key(obj.GetNamespace(), obj.GetName())]; ok {
		return nil, apierrors.NewAlreadyExists(r.GroupResource(), obj.GetName())
	}
	if obj.GetUID() == "" {
		obj.SetUID(types.UID(fmt.Sprintf("uid-%d", c.revision+1)))
	}
	obj.SetCreationTimestamp(metav1.Now().Rfc3339Copy())
	c.put(r, obj)
	return obj, nil
}

// Update implements api.Client. A subresource other than "" replaces the whole object too.
func (c *Client) Update(_ context.Context, r api.Resource, sub string, obj api.Object, _ metav1.UpdateOptions) (api.Object, error) {
	verb := "update"
	if sub != "" {
		verb = sub
	}
	if err := c.before(verb, r, obj); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := key(obj.GetNamespace(), obj.GetName())
	old, ok := c.objects[r][k]
	if !ok {
		return nil, apierrors.NewNotFound(r.GroupResource(), obj.GetName())
	}
	if rv := obj.GetResourceVersion(); rv != "" && rv != old.GetResourceVersion() {
		return nil, apierrors.NewConflict(r.GroupResource(), obj.GetName(), fmt.Errorf("resource version is %s", old.GetResourceVersion()))
	}
	if uid := obj.GetUID(); uid != "" && uid != old.GetUID() {
		return nil, apierrors.NewConflict(r.GroupResource(), obj.GetName(), fmt.Errorf("uid is %s", old.GetUID()))
	}
	obj = obj.DeepCopyObject().(api.Object)
	if obj.GetDeletionTimestamp() != nil && !waits(obj) {
		c.remove(r, k, old)
		return obj, nil
	}
	c.put(r, obj)
	return obj, nil
}

func (c *Client) remove(r api.Resource, k string, old api.Object) {
	delete(c.objects[r], k)
	c.revision++
	c.append(change{r, api.Event{Type: api.Deleted, Old: old}})
}

// Patch implements api.Client for strategic and merge patches.
func (c *Client) Patch(ctx context.Context, r api.Resource, namespace, name, sub string, _ types.PatchType, data []byte, _ metav1.PatchOptions) (api.Object, error) {
	old, err := c.Get(ctx, r, namespace, name)
	if err != nil {
		return nil, err
	}
	was, err := json.Marshal(old)
	if err != nil {
		return nil, err
	}
	merged, err := strategicpatch.StrategicMergePatch(was, data, old)
	if err != nil {
		return nil, err
	}
	next := reflect.New(reflect.TypeOf(old).Elem()).Interface().(api.Object)
	if err := json.Unmarshal(merged, next); err != nil {
		return nil, err
	}
	return c.Update(ctx, r, sub, next, metav1.UpdateOptions{})
}

// Delete implements api.Client: objects with finalizers get a deletionTimestamp, others go at once.
func (c *Client) Delete(ctx context.Context, r api.Resource, namespace, name string, o metav1.DeleteOptions) error {
	old, err := c.Get(ctx, r, namespace, name)
	if err != nil {
		return err
	}
	if err := c.before("delete", r, old); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old, ok := c.objects[r][key(namespace, name)]
	if !ok {
		return apierrors.NewNotFound(r.GroupResource(), name)
	}
	if p := o.Preconditions; p != nil && p.UID != nil && *p.UID != old.GetUID() {
		return apierrors.NewConflict(r.GroupResource(), name, fmt.Errorf("uid is %s", old.GetUID()))
	}
	if !finalizing(old) {
		c.remove(r, key(namespace, name), old)
		return nil
	}
	if old.GetDeletionTimestamp() == nil {
		next := old.DeepCopyObject().(api.Object)
		now := metav1.Now()
		next.SetDeletionTimestamp(&now)
		c.put(r, next)
	}
	return nil
}

// CreateSubresource implements api.Client.
func (c *Client) CreateSubresource(_ context.Context, r api.Resource, namespace, name, sub string, body api.Object) (api.Object, error) {
	if err := c.before(sub, r, body); err != nil {
		return nil, err
	}
	if c.Subresource == nil {
		return nil, apierrors.NewMethodNotSupported(r.GroupResource(), sub)
	}
	return c.Subresource(r, namespace, name, sub, body)
}

func (c *Client) before(verb string, r api.Resource, obj api.Object) error {
	if c.Before == nil {
		return nil
	}
	return c.Before(verb, r, obj)
}

// View implements api.Client.
func (c *Client) View(r api.Resource) api.View { return &view{c, r} }

type view struct {
	c *Client
	r api.Resource
}

func (v *view) WaitSynced(context.Context) error { return nil }

// Version implements api.Versioned.
func (v *view) Version() int64 {
	v.c.mu.Lock()
	defer v.c.mu.Unlock()
	return v.c.revision // of any resource: it grows more often than it must
}

func (v *view) Get(namespace, name string) (api.Object, bool) {
	v.c.mu.Lock()
	defer v.c.mu.Unlock()
	o, ok := v.c.objects[v.r][key(namespace, name)]
	return o, ok
}

func (v *view) List(namespace string) []api.Object {
	v.c.mu.Lock()
	defer v.c.mu.Unlock()
	return v.listLocked(namespace)
}

func (v *view) listLocked(namespace string) []api.Object {
	var out []api.Object
	for _, o := range v.c.objects[v.r] {
		if namespace == "" || o.GetNamespace() == namespace {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b api.Object) int {
		return strings.Compare(key(a.GetNamespace(), a.GetName()), key(b.GetNamespace(), b.GetName()))
	})
	return out
}

func (v *view) ByIndex(ix api.Index, value string) []api.Object {
	fn := api.Indexes[v.r][ix]
	if fn == nil {
		panic(fmt.Sprintf("%s has no index %s", v.r.Name, ix))
	}
	var out []api.Object
	for _, o := range v.List("") {
		if slices.Contains(fn(o), value) {
			out = append(out, o)
		}
	}
	return out
}

func (v *view) Watch(ctx context.Context, fn func(api.Event)) error {
	v.c.mu.Lock()
	at, have := len(v.c.log), v.listLocked("")
	v.c.mu.Unlock()
	for _, o := range have {
		fn(api.Event{Type: api.Added, New: o})
	}
	fn(api.Event{Type: api.Synced})
	for {
		v.c.mu.Lock()
		pending := slices.Clone(v.c.log[at:])
		at = len(v.c.log)
		if v.c.grown == nil {
			v.c.grown = make(chan struct{})
		}
		grown := v.c.grown
		v.c.mu.Unlock()
		for _, ch := range pending {
			if ch.r == v.r {
				fn(ch.e)
			}
		}
		if len(pending) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-grown:
		}
	}
}
