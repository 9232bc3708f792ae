package resourcemetrics

import (
	"cmp"
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"clipper/api"
)

// A Selection says which objects a list is to have.
type Selection struct {
	Labels labels.Selector
	Fields fields.Selector
}

// Everything selects all objects.
func Everything() Selection { return Selection{labels.Everything(), fields.Everything()} }

func (s Selection) matches(o metav1.Object) bool {
	set := fields.Set{"metadata.name": o.GetName()}
	if ns := o.GetNamespace(); ns != "" {
		set["metadata.namespace"] = ns
	}
	return s.Labels.Matches(labels.Set(o.GetLabels())) && s.Fields.Matches(set)
}

// Nodes returns what nodes use, by name.
func (c *Collector) Nodes(ctx context.Context, sel Selection) ([]metricsv1beta1.NodeMetrics, error) {
	readings, err := c.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	out := []metricsv1beta1.NodeMetrics{}
	for _, n := range api.Nodes.View(c.client).List("") {
		if m, ok := nodeMetrics(n, readings[n.Name]); ok && sel.matches(n) {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b metricsv1beta1.NodeMetrics) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

func nodeMetrics(n *corev1.Node, r pair) (metricsv1beta1.NodeMetrics, bool) {
	if r.before == nil {
		return metricsv1beta1.NodeMetrics{}, false
	}
	use, window, ok := r.now.node.since(r.before.node, true)
	return metricsv1beta1.NodeMetrics{ObjectMeta: meta(n), Timestamp: metav1.NewTime(r.now.node.at), Window: metav1.Duration{Duration: window}, Usage: use}, ok
}

// meta is that of metrics about o.
func meta(o metav1.Object) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: o.GetName(), Namespace: o.GetNamespace(), CreationTimestamp: metav1.Now(), Labels: o.GetLabels()}
}

// Pods returns what running pods use, by namespace and name. namespace "" means all.
func (c *Collector) Pods(ctx context.Context, namespace string, sel Selection) ([]metricsv1beta1.PodMetrics, error) {
	readings, err := c.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	out := []metricsv1beta1.PodMetrics{}
	for _, p := range api.Pods.View(c.client).List(namespace) {
		if !sel.matches(p) {
			continue
		}
		if m, ok := podMetrics(p, readings[p.Spec.NodeName]); ok {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b metricsv1beta1.PodMetrics) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out, nil
}

// PodsOf returns what the running pods of a namespace use that selector selects.
func (c *Collector) PodsOf(ctx context.Context, namespace string, selector labels.Selector) ([]metricsv1beta1.PodMetrics, error) {
	return c.Pods(ctx, namespace, Selection{selector, fields.Everything()})
}

// podMetrics is about a whole pod or not at all: a container of which nothing is known would look idle.
func podMetrics(p *corev1.Pod, r pair) (metricsv1beta1.PodMetrics, bool) {
	m := metricsv1beta1.PodMetrics{ObjectMeta: meta(p)}
	if p.Status.Phase != corev1.PodRunning || r.now == nil {
		return m, false
	}
	name := types.NamespacedName{Namespace: p.Namespace, Name: p.Name}
	now := r.now.pods[name]
	for _, container := range slices.Sorted(maps.Keys(now)) {
		u := now[container]
		var old usage
		known := false
		if r.before != nil {
			old, known = r.before.pods[name][container]
		}
		use, window, ok := u.since(old, known)
		if !ok {
			return m, false
		}
		if m.Timestamp.IsZero() || u.at.Before(m.Timestamp.Time) {
			m.Timestamp, m.Window = metav1.NewTime(u.at), metav1.Duration{Duration: window}
		}
		m.Containers = append(m.Containers, metricsv1beta1.ContainerMetrics{Name: container, Usage: use})
	}
	return m, len(m.Containers) > 0
}

// Node returns what one node uses.
func (c *Collector) Node(ctx context.Context, name string) (*metricsv1beta1.NodeMetrics, error) {
	if _, ok := api.Nodes.View(c.client).Get("", name); !ok {
		return nil, apierrors.NewNotFound(corev1.Resource("nodes"), name)
	}
	found, err := c.Nodes(ctx, Selection{labels.Everything(), fields.OneTermEqualSelector("metadata.name", name)})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, apierrors.NewNotFound(metricsv1beta1.Resource("nodemetrics"), name)
	}
	return &found[0], nil
}

// Pod returns what one pod uses.
func (c *Collector) Pod(ctx context.Context, namespace, name string) (*metricsv1beta1.PodMetrics, error) {
	if _, ok := api.Pods.View(c.client).Get(namespace, name); !ok {
		return nil, apierrors.NewNotFound(corev1.Resource("pods"), name)
	}
	found, err := c.Pods(ctx, namespace, Selection{labels.Everything(), fields.OneTermEqualSelector("metadata.name", name)})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, apierrors.NewNotFound(metricsv1beta1.Resource("podmetrics"), namespace+"/"+name)
	}
	return &found[0], nil
}
