package horizontalpodautoscaler

import (
	"errors"
	"fmt"
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// How far what pods use is believed. Upstream's figures.
const (
	tolerance          = 0.1              // a ratio this close to 1 changes nothing
	initialization     = 5 * time.Minute  // in which a pod may be busy with its start
	initialReadyDelay  = 30 * time.Second // in which a pod is expected to become ready first
	fallbackPercentage = 100              // what a pod of which nothing is known is taken to use
)

// A sample is what one pod uses of one resource, in thousandths.
type sample struct {
	at     time.Time
	window time.Duration
	value  int64
}

// samples picks a resource out of metrics, by pod: of one container, or of all with "". Pods of which it is not
// known are left out.
func samples(metrics []metricsv1beta1.PodMetrics, name corev1.ResourceName, container string) map[string]sample {
	out := map[string]sample{}
	for i := range metrics {
		m := &metrics[i]
		s, known := sample{at: m.Timestamp.Time, window: m.Window.Duration}, 0
		for _, c := range m.Containers {
			q, ok := c.Usage[name]
			if ok && (container == "" || container == c.Name) {
				s.value += q.MilliValue()
				known++
			}
		}
		if known == 1 || known > 0 && known == len(m.Containers) {
			out[m.Name] = s
		}
	}
	return out
}

// A target is what pods shall use on average: a percentage of what they request or, without requests, an amount
// in thousandths.
type target struct {
	utilization int32
	average     int64
	requests    map[string]int64
}

// ratio compares what is used with the target.
func (t *target) ratio(known map[string]sample) (ratio float64, percent int32, average int64, err error) {
	var used, requested, pods int64
	for name, s := range known {
		if t.requests != nil {
			r, ok := t.requests[name]
			if !ok {
				continue
			}
			requested += r
		}
		used += s.value
		pods++
	}
	if t.requests == nil {
		average = used / pods
		return float64(average) / float64(t.average), 0, average, nil
	}
	if requested == 0 {
		return 0, 0, 0, errors.New("no metrics returned matched known pods")
	}
	percent = int32(used * 100 / requested)
	return float64(percent) / float64(t.utilization), percent, used / pods, nil
}

// missing is what a pod is taken to use of which nothing is known, where scaling down is considered: enough that
// it does not speak for it.
func (t *target) missing(pod string) int64 {
	if t.requests == nil {
		return t.average
	}
	return t.requests[pod] * int64(max(fallbackPercentage, t.utilization)) / 100
}

// tolerances are how much below and above its target use may be.
type tolerances struct{ down, up float64 }

func (t tolerances) within(ratio float64) bool { return 1-t.down <= ratio && ratio <= 1+t.up }

// A proposal is how many replicas a metric asks for, and what it was derived from.
type proposal struct {
	replicas, percent int32
	average           int64
}

// propose decides how many replicas of pods bring what they use to the target. known is changed.
func propose(pods []*corev1.Pod, known map[string]sample, name corev1.ResourceName, t *target, tol tolerances, current int32, now time.Time) (proposal, error) {
	if len(pods) == 0 {
		return proposal{}, errors.New("no pods returned by selector while calculating replica count")
	}
	g := group(pods, known, name, now)
	for _, p := range g.left {
		delete(known, p)
	}
	if len(known) == 0 {
		return proposal{}, errors.New("did not receive metrics for targeted pods (pods might be unready)")
	}
	ratio, percent, average, err := t.ratio(known)
	if err != nil {
		return proposal{}, err
	}
	stay := proposal{current, percent, average}
	withUnready := len(g.unready) > 0 && ratio > 1
	if !withUnready && len(g.missing) == 0 {
		if tol.within(ratio) {
			return stay, nil
		}
		return proposal{int32(math.Ceil(ratio * float64(g.ready))), percent, average}, nil
	}
	for _, p := range g.missing {
		switch {
		case ratio < 1:
			known[p] = sample{value: t.missing(p)}
		case ratio > 1:
			known[p] = sample{}
		}
	}
	if withUnready { // pods that do not work yet will take their share
		for _, p := range g.unready {
			known[p] = sample{}
		}
	}
	next, _, _, err := t.ratio(known)
	if err != nil {
		return proposal{}, err
	}
	replicas := int32(math.Ceil(next * float64(len(known))))
	if tol.within(next) || ratio < 1 && next > 1 || ratio > 1 && next < 1 || next < 1 && replicas > current || next > 1 && replicas < current {
		return stay, nil // what is only guessed must not turn the direction round
	}
	return proposal{replicas, percent, average}, nil
}

// groups are pods by what can be said of their use.
type groups struct {
	ready            int
	unready, missing []string
	left             []string // unready ones and those that are ending: their samples say nothing
}

func group(pods []*corev1.Pod, known map[string]sample, name corev1.ResourceName, now time.Time) groups {
	var g groups
	for _, p := range pods {
		s, found := known[p.Name]
		switch {
		case p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodFailed:
			g.left = append(g.left, p.Name)
		case p.Status.Phase == corev1.PodPending:
			g.unready, g.left = append(g.unready, p.Name), append(g.left, p.Name)
		case !found:
			g.missing = append(g.missing, p.Name)
		case name == corev1.ResourceCPU && starting(p, s, now):
			g.unready, g.left = append(g.unready, p.Name), append(g.left, p.Name)
		default:
			g.ready++
		}
	}
	return g
}

// starting reports whether what a pod uses of the processor may still be due to its start.
func starting(p *corev1.Pod, s sample, now time.Time) bool {
	var ready *corev1.PodCondition
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == corev1.PodReady {
			ready = &p.Status.Conditions[i]
		}
	}
	if ready == nil || p.Status.StartTime == nil {
		return true
	}
	unready, since := ready.Status == corev1.ConditionFalse, ready.LastTransitionTime.Time
	if p.Status.StartTime.Add(initialization).After(now) {
		return unready || s.at.Before(since.Add(s.window))
	}
	return unready && p.Status.StartTime.Add(initialReadyDelay).After(since)
}

// requests returns what pods ask for of a resource, in thousandths.
func requests(pods []*corev1.Pod, name corev1.ResourceName, container string) (map[string]int64, error) {
	out := map[string]int64{}
	for _, p := range pods {
		if container == "" && resource.IsPodLevelRequestsSet(p) {
			if q, ok := p.Spec.Resources.Requests[name]; ok {
				out[p.Name] = q.MilliValue()
				continue
			}
		}
		n, err := containerRequests(p, name, container)
		if err != nil {
			return nil, err
		}
		out[p.Name] = n
	}
	return out, nil
}

func containerRequests(p *corev1.Pod, name corev1.ResourceName, container string) (int64, error) {
	var sum int64
	found := false
	for _, c := range lasting(p) {
		if container != "" && container != c.Name {
			continue
		}
		q, ok := c.Resources.Requests[name]
		if !ok {
			return 0, fmt.Errorf("missing request for %s in container %s of Pod %s", name, c.Name, p.Name)
		}
		sum, found = sum+q.MilliValue(), true
	}
	if container != "" && !found {
		return 0, fmt.Errorf("container %s not found in Pod %s", container, p.Name)
	}
	return sum, nil
}

// lasting returns the containers that run as long as the pod does.
func lasting(p *corev1.Pod) []*corev1.Container {
	var out []*corev1.Container
	for i := range p.Spec.Containers {
		out = append(out, &p.Spec.Containers[i])
	}
	for i := range p.Spec.InitContainers {
		if r := p.Spec.InitContainers[i].RestartPolicy; r != nil && *r == corev1.ContainerRestartPolicyAlways {
			out = append(out, &p.Spec.InitContainers[i])
		}
	}
	return out
}
