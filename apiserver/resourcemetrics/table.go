package resourcemetrics

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// table shows metrics as `kubectl get` does: a column for each resource.
func table(object runtime.Object, as *schema.GroupVersionKind) *metav1.Table {
	t := &metav1.Table{}
	t.SetGroupVersionKind(*as)
	switch o := object.(type) {
	case *metricsv1beta1.NodeMetrics:
		addNode(t, o)
	case *metricsv1beta1.NodeMetricsList:
		for i := range o.Items {
			addNode(t, &o.Items[i])
		}
	case *metricsv1beta1.PodMetrics:
		addPod(t, o)
	case *metricsv1beta1.PodMetricsList:
		for i := range o.Items {
			addPod(t, &o.Items[i])
		}
	}
	return t
}

func addNode(t *metav1.Table, m *metricsv1beta1.NodeMetrics) {
	add(t, m.ObjectMeta, m.Usage, m.Window)
}

func addPod(t *metav1.Table, m *metricsv1beta1.PodMetrics) {
	sum := corev1.ResourceList{}
	for _, c := range m.Containers {
		for name, q := range c.Usage {
			total := sum[name]
			total.Add(q)
			sum[name] = total
		}
	}
	add(t, m.ObjectMeta, sum, m.Window)
}

// add appends a row; the first one says which columns there are.
func add(t *metav1.Table, of metav1.ObjectMeta, use corev1.ResourceList, window metav1.Duration) {
	names := slices.Sorted(maps.Keys(use))
	if t.ColumnDefinitions == nil {
		t.ColumnDefinitions = []metav1.TableColumnDefinition{{Name: "Name", Type: "string", Format: "name", Description: "Name of the resource"}}
		for _, n := range names {
			t.ColumnDefinitions = append(t.ColumnDefinitions, metav1.TableColumnDefinition{Name: string(n), Type: "string", Format: "quantity"})
		}
		t.ColumnDefinitions = append(t.ColumnDefinitions, metav1.TableColumnDefinition{Name: "Window", Type: "string", Format: "duration"})
	}
	cells := []any{of.Name}
	for _, n := range names {
		q := use[n]
		cells = append(cells, q.String())
	}
	row := metav1.TableRow{Cells: append(cells, window.Duration.String())}
	row.Object.Object = &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"}, ObjectMeta: of}
	t.Rows = append(t.Rows, row)
}
