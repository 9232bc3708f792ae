package horizontalpodautoscaler

import (
	"context"
	"errors"
	"fmt"
	"slices"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"

	"clipper/api"
	"clipper/controllers/owner"
)

// measure returns how many replicas the metrics ask for together: as many as the one that asks for most. One that
// fails is passed over where the others ask for more than there are; to scale down, all must be known.
func (r *round) measure(ctx context.Context, scale *autoscalingv1.Scale) (replicas int32, metric string, err error) {
	selector, pods, err := r.selected(scale.Status.Selector)
	if err != nil {
		return 0, "", err
	}
	var first error
	var why note
	failed := 0
	statuses := make([]autoscalingv2.MetricStatus, len(r.hpa.Spec.Metrics))
	for i := range r.hpa.Spec.Metrics {
		m := &measurement{round: r, spec: &r.hpa.Spec.Metrics[i], selector: selector, pods: pods, current: scale.Spec.Replicas, status: &statuses[i]}
		proposed, name, n, err := m.take(ctx)
		if err != nil {
			if failed++; first == nil {
				first, why = err, n
			}
			continue
		}
		if replicas == 0 || proposed > replicas {
			replicas, metric = proposed, name
		}
	}
	r.status.CurrentMetrics = statuses
	if failed == len(statuses) || failed > 0 && replicas < scale.Spec.Replicas {
		r.condition(autoscalingv2.ScalingActive, false, why)
		return 0, "", fmt.Errorf("invalid metrics (%d invalid out of %d), first error is: %w", failed, len(statuses), first)
	}
	r.condition(autoscalingv2.ScalingActive, true, note{"ValidMetricFound", "the HPA was able to successfully calculate a replica count from " + metric})
	return replicas, metric, nil
}

// selected returns the pods that are scaled, which must not be another autoscaler's as well.
func (r *round) selected(text string) (labels.Selector, []*corev1.Pod, error) {
	refuse := func(event, reason, message, told string) error {
		r.condition(autoscalingv2.ScalingActive, false, note{reason, told})
		r.events.Event(r.hpa, corev1.EventTypeWarning, event, "%s", message)
		return errors.New(message)
	}
	if text == "" {
		return nil, nil, refuse("SelectorRequired", "InvalidSelector", "selector is required", "the HPA target's scale is missing a selector")
	}
	selector, err := labels.Parse(text)
	if err != nil {
		message := fmt.Sprintf("couldn't convert selector into a corresponding internal selector object: %v", err)
		return nil, nil, refuse("InvalidSelector", "InvalidSelector", message, message)
	}
	var pods []*corev1.Pod
	for _, p := range api.Pods.View(r.client).List(r.hpa.Namespace) {
		if selector.Matches(labels.Set(p.Labels)) {
			pods = append(pods, p)
		}
	}
	if all := r.claimants(selector, pods); len(all) > 1 {
		message := fmt.Sprintf("pods by selector %s are controlled by multiple HPAs: %v", text, all)
		return nil, nil, refuse("AmbiguousSelector", "AmbiguousSelector", message, message)
	}
	return selector, pods, nil
}

// claimants notes this autoscaler's selector and returns all autoscalers that select one of the pods.
func (r *round) claimants(selector labels.Selector, pods []*corev1.Pod) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.selectors[r.key] = selector
	var out []string
	for k, s := range r.selectors {
		if k.Namespace == r.key.Namespace && (k == r.key || slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return s.Matches(labels.Set(p.Labels)) })) {
			out = append(out, owner.Key.String(k))
		}
	}
	slices.Sort(out)
	return out
}

// A measurement is about one metric of an autoscaler.
type measurement struct {
	*round
	spec     *autoscalingv2.MetricSpec
	selector labels.Selector
	pods     []*corev1.Pod
	current  int32
	status   *autoscalingv2.MetricStatus
}

// take returns how many replicas the metric asks for, and what it is called; with an error, what to say of it.
func (m *measurement) take(ctx context.Context) (replicas int32, name string, why note, err error) {
	reason, kind := "", ""
	switch m.spec.Type {
	case autoscalingv2.ResourceMetricSourceType:
		s := m.spec.Resource
		reason, kind = "FailedGetResourceMetric", fmt.Sprintf("%s resource", s.Name)
		replicas, name, err = m.resource(ctx, s.Name, "", s.Target, func(v autoscalingv2.MetricValueStatus) {
			*m.status = autoscalingv2.MetricStatus{Type: m.spec.Type, Resource: &autoscalingv2.ResourceMetricStatus{Name: s.Name, Current: v}}
		})
	case autoscalingv2.ContainerResourceMetricSourceType:
		s := m.spec.ContainerResource
		reason, kind = "FailedGetContainerResourceMetric", fmt.Sprintf("%s container", s.Container)
		replicas, name, err = m.resource(ctx, s.Name, s.Container, s.Target, func(v autoscalingv2.MetricValueStatus) {
			*m.status = autoscalingv2.MetricStatus{Type: m.spec.Type, ContainerResource: &autoscalingv2.ContainerResourceMetricStatus{Name: s.Name, Container: s.Container, Current: v}}
		})
	case autoscalingv2.PodsMetricSourceType:
		reason, kind = "FailedGetPodsMetric", "pods"
		err = fmt.Errorf("unable to get metric %s: unable to fetch metrics from custom metrics API: %w", m.spec.Pods.Metric.Name, errNoCustom)
	case autoscalingv2.ObjectMetricSourceType:
		o := m.spec.Object
		reason, kind = "FailedGetObjectMetric", "object"
		err = fmt.Errorf("unable to get metric %s: %s on %s %s: unable to fetch metrics from custom metrics API: %w", o.Metric.Name, o.DescribedObject.Kind, m.hpa.Namespace, o.DescribedObject.Name, errNoCustom)
	case autoscalingv2.ExternalMetricSourceType:
		e := m.spec.External
		reason, kind = "FailedGetExternalMetric", e.Metric.Name+" external"
		err = fmt.Errorf("unable to get external metric %s/%s: unable to fetch metrics from external metrics API: the server could not find the requested resource (get %s.external.metrics.k8s.io)", m.hpa.Namespace, e.Metric.Name, e.Metric.Name)
	default:
		reason, kind, err = "InvalidMetricSourceType", string(m.spec.Type), fmt.Errorf("unknown metric source type %q", m.spec.Type)
	}
	if err != nil {
		m.events.Event(m.hpa, corev1.EventTypeWarning, reason, "%s", err)
		why = note{reason, fmt.Sprintf("the HPA was unable to compute the replica count: %v", err)}
		return 0, "", why, fmt.Errorf("failed to get %s metric value: %w", kind, err)
	}
	return replicas, name, note{}, nil
}

var errNoCustom = errors.New("no custom metrics API (custom.metrics.k8s.io) registered")

// resource is take for what pods or containers use of the node.
func (m *measurement) resource(ctx context.Context, name corev1.ResourceName, container string, want autoscalingv2.MetricTarget, tell func(autoscalingv2.MetricValueStatus)) (int32, string, error) {
	what := "utilization"
	if want.AverageValue != nil {
		what = "usage"
	} else if want.AverageUtilization == nil {
		return 0, "", errors.New("invalid resource metric source: neither an average utilization target nor an average value (usage) target was set")
	}
	wrap := func(err error) error { return fmt.Errorf("failed to get %s %s: %w", name, what, err) }
	metrics, err := m.metrics.PodsOf(ctx, m.hpa.Namespace, m.selector)
	if err == nil && len(metrics) == 0 {
		err = errors.New("no metrics returned from resource metrics API")
	} else if err != nil {
		err = fmt.Errorf("unable to fetch metrics from resource metrics API: %w", err)
	}
	if err != nil {
		return 0, "", wrap(fmt.Errorf("unable to get metrics for resource %s: %w", name, err))
	}
	t := &target{}
	if want.AverageValue != nil {
		t.average = want.AverageValue.MilliValue()
	} else {
		t.utilization = *want.AverageUtilization
		if t.requests, err = requests(m.pods, name, container); err != nil {
			return 0, "", wrap(err)
		}
	}
	p, err := propose(m.pods, samples(metrics, name, container), name, t, m.tolerances(), m.current, m.now)
	if err != nil {
		return 0, "", wrap(err)
	}
	average := quantity(name, p.average)
	if want.AverageValue != nil {
		tell(autoscalingv2.MetricValueStatus{AverageValue: &average})
		return p.replicas, fmt.Sprintf("%s resource", name), nil
	}
	tell(autoscalingv2.MetricValueStatus{AverageUtilization: &p.percent, AverageValue: &average})
	if container != "" {
		return p.replicas, fmt.Sprintf("%s container resource utilization (percentage of request)", name), nil
	}
	return p.replicas, fmt.Sprintf("%s resource utilization (percentage of request)", name), nil
}

// quantity is an amount in thousandths, in the form in which people read it.
func quantity(name corev1.ResourceName, milli int64) resource.Quantity {
	if name == corev1.ResourceMemory {
		return *resource.NewMilliQuantity(milli, resource.BinarySI)
	}
	return *resource.NewMilliQuantity(milli, resource.DecimalSI)
}

func (r *round) tolerances() tolerances {
	t := tolerances{tolerance, tolerance}
	b := r.hpa.Spec.Behavior
	if b != nil && b.ScaleDown != nil && b.ScaleDown.Tolerance != nil {
		t.down = b.ScaleDown.Tolerance.AsApproximateFloat64()
	}
	if b != nil && b.ScaleUp != nil && b.ScaleUp.Tolerance != nil {
		t.up = b.ScaleUp.Tolerance.AsApproximateFloat64()
	}
	return t
}
