package node

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
	"clipper/node/manifests"
)

// mirrorRetry is the pause after a mirror could not be made.
const mirrorRetry = 5 * time.Second

// staticPods are the sources of static pods, and what each has said last.
type staticPods struct {
	url *manifests.URL // nil: there is none

	mu                sync.Mutex
	fromFile, fromURL map[types.UID]*corev1.Pod
}

// all returns the pods of both sources after taking what one of them says now.
func (s *staticPods) all(take func()) map[types.UID]*corev1.Pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	take()
	out := maps.Clone(s.fromFile)
	if out == nil {
		out = map[types.UID]*corev1.Pod{}
	}
	maps.Copy(out, s.fromURL)
	return out
}

// readStatic asks each source once, before it is known what runs in vain.
func (a *Agent) readStatic(ctx context.Context) map[types.UID]*corev1.Pod {
	s := &a.sources
	if address := a.opts.Config.StaticPodURL; address != "" {
		s.url = &manifests.URL{Address: address, Header: a.opts.Config.StaticPodURLHeader,
			Node: a.opts.NodeName, Period: a.opts.Config.HTTPCheckFrequency.Duration}
	}
	return s.all(func() {
		s.fromFile = manifests.Read(a.opts.ManifestDir, a.opts.NodeName)
		if s.url == nil {
			return
		}
		pods, fresh, err := s.url.Read(ctx)
		if err != nil {
			slog.Warn("Reading static pods failed", "url", s.url.Address, "err", err)
		}
		if fresh {
			s.fromURL = pods
		}
	})
}

// runStatic runs what the folder of manifests and the URL say until ctx ends.
func (a *Agent) runStatic(ctx context.Context, held inventory) error {
	s := &a.sources
	group, ctx := errgroup.WithContext(ctx)
	if a.opts.ManifestDir != "" {
		group.Go(func() error {
			return manifests.Watch(ctx, a.opts.ManifestDir, func() {
				pods := manifests.Read(a.opts.ManifestDir, a.opts.NodeName)
				a.setStatic(ctx, s.all(func() { s.fromFile = pods }), held)
			})
		})
	}
	if s.url != nil {
		group.Go(func() error {
			return s.url.Watch(ctx, func(pods map[types.UID]*corev1.Pod) {
				a.setStatic(ctx, s.all(func() { s.fromURL = pods }), held)
			})
		})
	}
	return group.Wait()
}

// setStatic starts workers for static pods that are new and ends those of pods whose file is gone. A pod
// whose file has changed is another pod: it begins once the old one has ended.
func (a *Agent) setStatic(ctx context.Context, want map[types.UID]*corev1.Pod, held inventory) {
	a.mu.Lock()
	a.static = want
	names := map[string]bool{} // still in use
	var ending []*handle
	for uid, h := range a.workers {
		if !manifests.IsStatic(h.pod) || h.done {
			continue
		}
		names[h.pod.Namespace+"/"+h.pod.Name] = true
		if want[uid] == nil {
			ending = append(ending, h)
		}
	}
	var starting []*corev1.Pod
	for uid, p := range want {
		if a.workers[uid] == nil && !names[p.Namespace+"/"+p.Name] {
			starting = append(starting, p)
		}
	}
	a.mu.Unlock()
	for _, h := range ending {
		h.Gone()
	}
	for _, p := range starting {
		a.changed(ctx, p, held)
		a.wg.Go(func() { a.mirrorPod(ctx, p) })
	}
}

// staticEnded is called when the worker of a static pod has ended: its mirror goes, and what has taken its
// file's place begins.
func (a *Agent) staticEnded(ctx context.Context, p *corev1.Pod, held inventory) {
	a.mu.Lock()
	delete(a.workers, p.UID)
	want := a.static
	a.mu.Unlock()
	if m, ok := api.Pods.View(a.opts.Client).Get(p.Namespace, p.Name); ok && m.Annotations[corev1.MirrorPodAnnotationKey] == string(p.UID) {
		a.deleteMirror(ctx, m)
	}
	a.setStatic(ctx, want, held)
}

// mirrorChanged hears of every mirror pod of this node.
func (a *Agent) mirrorChanged(ctx context.Context, m *corev1.Pod, deleted bool) {
	h := a.worker(types.UID(m.Annotations[corev1.MirrorPodAnnotationKey]))
	switch {
	case h == nil && !deleted:
		a.wg.Go(func() { a.deleteMirror(ctx, m) }) // of a file that is gone
	case h == nil:
	case deleted:
		h.SetMirror(nil)
		a.wg.Go(func() { a.mirrorPod(ctx, h.pod) })
	case m.DeletionTimestamp != nil: // by a user: the pod runs on, another mirror will show it
		h.SetMirror(nil)
		a.wg.Go(func() { a.deleteMirror(ctx, m) })
	default:
		h.SetMirror(m)
	}
}

func (a *Agent) deleteMirror(ctx context.Context, m *corev1.Pod) {
	now := int64(0)
	err := api.Pods.DeleteThis(ctx, a.opts.Client, m, metav1.DeleteOptions{GracePeriodSeconds: &now})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && ctx.Err() == nil {
		slog.Warn("Deleting a mirror pod failed", "pod", m.Namespace+"/"+m.Name, "err", err)
	}
}

// mirrorPod shows a static pod in the API, as long as the pod is wanted. The API may refuse, for a name
// that is taken or an admission rule: the pod runs all the same.
func (a *Agent) mirrorPod(ctx context.Context, p *corev1.Pod) {
	for a.worker(p.UID) != nil && ctx.Err() == nil {
		node, err := api.Nodes.Get(ctx, a.opts.Client, "", a.opts.NodeName)
		if err == nil {
			var m *corev1.Pod
			m, err = api.Pods.Create(ctx, a.opts.Client, manifests.Mirror(p, node.UID))
			if err == nil {
				if h := a.worker(p.UID); h != nil {
					h.SetMirror(m)
				}
				return
			}
		}
		if apierrors.IsAlreadyExists(err) {
			if m, gerr := api.Pods.Get(ctx, a.opts.Client, p.Namespace, p.Name); gerr == nil && m.Annotations[corev1.MirrorPodAnnotationKey] == string(p.UID) {
				a.mirrorChanged(ctx, m, false)
				return
			}
		}
		if ctx.Err() == nil {
			slog.Warn("Showing a static pod in the API failed; it will be retried", "pod", p.Namespace+"/"+p.Name, "err", err)
		}
		t := time.NewTimer(mirrorRetry)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
}
