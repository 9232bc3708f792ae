package remote

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"

	"clipper/api"
	"clipper/api/podrefs"
)

// fill keeps the view current until ctx ends.
func (v *view) fill(ctx context.Context) {
	if v.client.nodeName != "" && (v.resource == api.ConfigMaps.Resource || v.resource == api.Secrets.Resource) {
		v.fillByReference(ctx)
		return
	}
	v.reflect(ctx, "", v.client.selector(v.resource), part{v, ctx, func(string) bool { return true }})
}

// reflect lists and watches, with upstream's reflector: streaming lists, bookmarks, back-off, 410 Gone.
func (v *view) reflect(ctx context.Context, namespace string, sel fields.Selector, store cache.ReflectorStore) {
	example, err := newObject(v.resource.GVK())
	if err != nil {
		panic(err) // a view of a kind without a Go type: the caller's mistake
	}
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = sel.String()
			return v.client.list(ctx, v.resource, namespace, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = sel.String()
			return v.client.watch(ctx, v.resource, namespace, o)
		},
	}
	r := cache.NewReflectorWithOptions(lw, example, store, cache.ReflectorOptions{Name: "api/remote " + v.resource.Name})
	r.RunWithContext(ctx)
}

func (c *Client) list(ctx context.Context, r api.Resource, namespace string, o metav1.ListOptions) (runtime.Object, error) {
	rc, err := c.rest(r)
	if err != nil {
		return nil, err
	}
	gvk := r.GVK()
	gvk.Kind += "List"
	into, err := scheme.Scheme.New(gvk)
	if err != nil {
		return nil, fmt.Errorf("api/remote knows built-in kinds only: %w", err)
	}
	err = rc.Get().NamespaceIfScoped(namespace, r.Namespaced && namespace != "").Resource(r.Name).
		VersionedParams(&o, scheme.ParameterCodec).Do(ctx).Into(into)
	return into, err
}

func (c *Client) watch(ctx context.Context, r api.Resource, namespace string, o metav1.ListOptions) (watch.Interface, error) {
	rc, err := c.rest(r)
	if err != nil {
		return nil, err
	}
	o.Watch = true
	return rc.Get().NamespaceIfScoped(namespace, r.Namespaced && namespace != "").Resource(r.Name).
		VersionedParams(&o, scheme.ParameterCodec).Watch(ctx)
}

// items returns a list's objects and revision.
func items(list runtime.Object) ([]api.Object, string, error) {
	m, err := meta.ListAccessor(list)
	if err != nil {
		return nil, "", err
	}
	var out []api.Object
	err = meta.EachListItem(list, func(o runtime.Object) error {
		out = append(out, o.(api.Object))
		return nil
	})
	return out, m.GetResourceVersion(), err
}

// A part is the share of a view that one reflector fills: all of it, or one object.
type part struct {
	*view
	ctx  context.Context // once it has ended, what the reflector still delivers is not wanted
	mine func(key string) bool
}

// Add implements cache.ReflectorStore.
func (p part) Add(o any) error { return p.Update(o) }

// Update implements cache.ReflectorStore.
func (p part) Update(o any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if obj := o.(api.Object); p.ctx.Err() == nil {
		p.putLocked(keyOf(obj), obj)
	}
	return nil
}

// Delete implements cache.ReflectorStore.
func (p part) Delete(o any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() == nil {
		p.putLocked(keyOf(o.(api.Object)), nil)
	}
	return nil
}

// Replace implements cache.ReflectorStore.
func (p part) Replace(list []any, _ string) error {
	objects := make([]api.Object, len(list))
	for i, o := range list {
		objects[i] = o.(api.Object)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() == nil {
		p.replaceLocked(objects, p.mine)
		p.syncedLocked()
	}
	return nil
}

// Resync implements cache.ReflectorStore.
func (part) Resync() error { return nil }

// fillByReference follows each object of the resource that a pod of this node refers to, for as long as
// one does.
func (v *view) fillByReference(ctx context.Context) {
	f := follower{view: v, users: map[string]map[string]bool{}, stop: map[string]context.CancelFunc{}}
	defer f.wg.Wait()
	pods := v.client.View(api.Pods.Resource)
	_ = pods.Watch(ctx, func(ev api.Event) { // ends with ctx
		switch ev.Type {
		case api.Synced:
			v.mu.Lock()
			v.syncedLocked()
			v.mu.Unlock()
		case api.Deleted:
			f.update(ctx, ev.Old.(*corev1.Pod), false)
		default:
			f.update(ctx, ev.New.(*corev1.Pod), true)
		}
	})
}

// A follower runs one reflector per object referred to. Only the goroutine of fillByReference uses it.
type follower struct {
	view  *view
	users map[string]map[string]bool // pods by object
	stop  map[string]context.CancelFunc
	wg    sync.WaitGroup
}

func (f *follower) update(ctx context.Context, pod *corev1.Pod, there bool) {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		there = false // nothing of it will be mounted again
	}
	for _, r := range podrefs.Of(pod) {
		if r.Resource != f.view.resource {
			continue
		}
		k := key(r.Namespace, r.Name)
		if !there {
			f.release(k, string(pod.UID))
			continue
		}
		if f.users[k] == nil {
			f.users[k] = map[string]bool{}
			f.follow(ctx, r.Namespace, r.Name)
		}
		f.users[k][string(pod.UID)] = true
	}
}

func (f *follower) follow(ctx context.Context, namespace, name string) {
	ctx, cancel := context.WithCancel(ctx)
	k := key(namespace, name)
	f.stop[k] = cancel
	store := part{f.view, ctx, func(other string) bool { return other == k }}
	f.wg.Go(func() {
		f.view.reflect(ctx, namespace, fields.OneTermEqualSelector("metadata.name", name), store)
	})
}

func (f *follower) release(k, uid string) {
	delete(f.users[k], uid)
	if f.users[k] == nil || len(f.users[k]) > 0 {
		return
	}
	delete(f.users, k)
	f.stop[k]()
	delete(f.stop, k)
	f.view.mu.Lock()
	defer f.view.mu.Unlock()
	f.view.putLocked(k, nil)
}
