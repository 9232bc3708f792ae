// Package nodetest has what tests of the node agent run against: an API, a runtime, an image store and a
// network in memory. They keep the contracts they stand in for; nothing outside tests imports them.
package nodetest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/uuid"

	"clipper/api"
)

// Client is an API without a server: no defaulting, validation or admission; revisions, conflicts,
// preconditions and graceful pod deletion are as they should be.
type Client struct {
	mu       sync.Mutex
	revision uint64
	objects  map[api.Resource]map[string]api.Object
	watchers map[api.Resource]map[chan api.Event]bool
	Tokens   int // how many service-account tokens were asked for
}

// NewClient returns an empty API.
func NewClient() *Client {
	return &Client{objects: map[api.Resource]map[string]api.Object{}, watchers: map[api.Resource]map[chan api.Event]bool{}}
}

func key(ns, name string) string { return ns + "/" + name }

func (c *Client) commitLocked(r api.Resource, obj api.Object) {
	c.revision++
	obj.SetResourceVersion(strconv.FormatUint(c.revision, 10))
	m := c.objects[r]
	if m == nil {
		m = map[string]api.Object{}
		c.objects[r] = m
	}
	k := key(obj.GetNamespace(), obj.GetName())
	ev := api.Event{Type: api.Added, New: obj}
	if old := m[k]; old != nil {
		ev.Type, ev.Old = api.Modified, old
	}
	m[k] = obj
	c.notifyLocked(r, ev)
}

func (c *Client) notifyLocked(r api.Resource, ev api.Event) {
	for ch := range c.watchers[r] {
		ch <- ev
	}
}

// Get implements api.Client.
func (c *Client) Get(_ context.Context, r api.Resource, ns, name string) (api.Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o := c.objects[r][key(ns, name)]; o != nil {
		return o, nil
	}
	return nil, apierrors.NewNotFound(r.GroupResource(), name)
}

// List implements api.Client; it ignores selectors.
func (c *Client) List(_ context.Context, r api.Resource, ns string, _ metav1.ListOptions) ([]api.Object, string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.listLocked(r, ns), strconv.FormatUint(c.revision, 10), nil
}

func (c *Client) listLocked(r api.Resource, ns string) []api.Object {
	var out []api.Object
	for _, o := range c.objects[r] {
		if ns == "" || o.GetNamespace() == ns {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b api.Object) int {
		return strings.Compare(key(a.GetNamespace(), a.GetName()), key(b.GetNamespace(), b.GetName()))
	})
	return out
}

// Create implements api.Client.
func (c *Client) Create(_ context.Context, r api.Resource, obj api.Object, _ metav1.CreateOptions) (api.Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.objects[r][key(obj.GetNamespace(), obj.GetName())] != nil {
		return nil, apierrors.NewAlreadyExists(r.GroupResource(), obj.GetName())
	}
	next := obj.DeepCopyObject().(api.Object)
	if next.GetUID() == "" {
		next.SetUID(uuid.NewUUID())
	}
	next.SetGeneration(1)
	next.SetCreationTimestamp(metav1.Now().Rfc3339Copy())
	c.commitLocked(r, next)
	return next, nil
}

// Update implements api.Client.
func (c *Client) Update(_ context.Context, r api.Resource, sub string, obj api.Object, _ metav1.UpdateOptions) (api.Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.objects[r][key(obj.GetNamespace(), obj.GetName())]
	switch {
	case old == nil:
		return nil, apierrors.NewNotFound(r.GroupResource(), obj.GetName())
	case obj.GetResourceVersion() != "" && obj.GetResourceVersion() != old.GetResourceVersion():
		return nil, apierrors.NewConflict(r.GroupResource(), obj.GetName(), fmt.Errorf("the object has been modified"))
	case obj.GetUID() != "" && obj.GetUID() != old.GetUID():
		return nil, apierrors.NewConflict(r.GroupResource(), obj.GetName(), fmt.Errorf("the UID differs"))
	}
	next := obj.DeepCopyObject().(api.Object)
	if sub == "" {
		next.SetGeneration(old.GetGeneration() + 1)
	}
	c.commitLocked(r, next)
	return next, nil
}

// Patch implements api.Client for strategic and merge patches.
func (c *Client) Patch(ctx context.Context, r api.Resource, ns, name, sub string, _ types.PatchType, data []byte, _ metav1.PatchOptions) (api.Object, error) {
	old, err := c.Get(ctx, r, ns, name)
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
	next := old.DeepCopyObject().(api.Object)
	if err := json.Unmarshal(merged, next); err != nil {
		return nil, err
	}
	next.SetResourceVersion(old.GetResourceVersion())
	return c.Update(ctx, r, sub, next, metav1.UpdateOptions{})
}

// Delete implements api.Client: a pod is marked first unless the grace period is 0.
func (c *Client) Delete(_ context.Context, r api.Resource, ns, name string, o metav1.DeleteOptions) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.objects[r][key(ns, name)]
	if old == nil {
		return apierrors.NewNotFound(r.GroupResource(), name)
	}
	if p := o.Preconditions; p != nil && p.UID != nil && *p.UID != old.GetUID() {
		return apierrors.NewConflict(r.GroupResource(), name, fmt.Errorf("the UID differs"))
	}
	if pod, ok := old.(*corev1.Pod); ok {
		grace := int64(30)
		if pod.Spec.TerminationGracePeriodSeconds != nil {
			grace = *pod.Spec.TerminationGracePeriodSeconds
		}
		if o.GracePeriodSeconds != nil {
			grace = *o.GracePeriodSeconds
		}
		if grace > 0 {
			next := pod.DeepCopy()
			now := metav1.Now()
			next.DeletionTimestamp, next.DeletionGracePeriodSeconds = &now, &grace
			c.commitLocked(r, next)
			return nil
		}
	}
	c.revision++
	delete(c.objects[r], key(ns, name))
	c.notifyLocked(r, api.Event{Type: api.Deleted, Old: old})
	return nil
}

// View implements api.Client.
func (c *Client) View(r api.Resource) api.View { return &view{c, r} }

type view struct {
	c *Client
	r api.Resource
}

func (v *view) WaitSynced(context.Context) error { return nil }

func (v *view) Get(ns, name string) (api.Object, bool) {
	v.c.mu.Lock()
	defer v.c.mu.Unlock()
	o := v.c.objects[v.r][key(ns, name)]
	return o, o != nil
}

func (v *view) List(ns string) []api.Object {
	v.c.mu.Lock()
	defer v.c.mu.Unlock()
	return v.c.listLocked(v.r, ns)
}

func (v *view) ByIndex(ix api.Index, value string) []api.Object {
	f := api.Indexes[v.r][ix]
	if f == nil {
		panic(fmt.Sprintf("no index %s for %s", ix, v.r.Name))
	}
	var out []api.Object
	for _, o := range v.List("") {
		if slices.Contains(f(o), value) {
			out = append(out, o)
		}
	}
	return out
}

func (v *view) Watch(ctx context.Context, fn func(api.Event)) error {
	v.c.mu.Lock()
	ch := make(chan api.Event, 10000)
	if v.c.watchers[v.r] == nil {
		v.c.watchers[v.r] = map[chan api.Event]bool{}
	}
	v.c.watchers[v.r][ch] = true
	have := v.c.listLocked(v.r, "")
	v.c.mu.Unlock()
	defer func() {
		v.c.mu.Lock()
		delete(v.c.watchers[v.r], ch)
		v.c.mu.Unlock()
	}()
	for _, o := range have {
		fn(api.Event{Type: api.Added, New: o})
	}
	fn(api.Event{Type: api.Synced})
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case ev := <-ch:
			fn(ev)
		}
	}
}

// CreateSubresource implements api.Client for service-account tokens.
func (c *Client) CreateSubresource(_ context.Context, r api.Resource, ns, name, sub string, body api.Object) (api.Object, error) {
	req, ok := body.(*authenticationv1.TokenRequest)
	if !ok || sub != "token" {
		return nil, apierrors.NewMethodNotSupported(r.GroupResource(), "create "+sub)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Tokens++
	out := req.DeepCopy()
	life := int64(3600)
	if req.Spec.ExpirationSeconds != nil {
		life = *req.Spec.ExpirationSeconds
	}
	out.Status.Token = fmt.Sprintf("token-%d-of-%s-%s", c.Tokens, ns, name)
	out.Status.ExpirationTimestamp = metav1.NewTime(time.Now().Add(time.Duration(life) * time.Second))
	return out, nil
}
