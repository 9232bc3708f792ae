// Package horizontalpodautoscaler keeps the replicas of what HorizontalPodAutoscalers name in step with what its pods
// use. How many there should be is decided by pure functions: propose from what is used, history from what was
// recommended before. Behaviour is that of a v1.36 controller, with two differences: an autoscaler is looked at as
// soon as it is made or changed, not only at the next turn; and metrics other than pods' and containers' resources
// are answered as upstream answers where no adapter for them is installed.
package horizontalpodautoscaler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"clipper/api"
	"clipper/controllers/owner"
	"clipper/controllers/queue"
)

const (
	workers = 5
	every   = 15 * time.Second // between two looks at an autoscaler
)

var autoscalers = api.Kind[*autoscalingv2.HorizontalPodAutoscaler]{Resource: api.Resource{
	Group: "autoscaling", Version: "v2", Name: "horizontalpodautoscalers", Kind: "HorizontalPodAutoscaler", Namespaced: true}}

// Metrics tell what the pods of a namespace use that a selector selects.
type Metrics interface {
	PodsOf(ctx context.Context, namespace string, selector labels.Selector) ([]metricsv1beta1.PodMetrics, error)
}

// Scales find the scale of any object that has one, and which resource it is.
type Scales interface {
	Scale(ctx context.Context, namespace string, ref autoscalingv2.CrossVersionObjectReference) (*autoscalingv1.Scale, api.Resource, error)
}

// Events take what is told of an autoscaler.
type Events interface {
	Event(obj api.Object, eventType, reason, format string, args ...any)
}

// A Controller scales for all autoscalers.
type Controller struct {
	client  api.Client
	metrics Metrics
	scales  Scales
	events  Events
	queue   *queue.Queue[owner.Key]
	now     func() time.Time

	mu        sync.Mutex
	histories map[owner.Key]*history // each belongs to the worker that has its key
	selectors map[owner.Key]labels.Selector
}

// New returns the controller.
func New(client api.Client, metrics Metrics, scales Scales, events Events) *Controller {
	c := &Controller{client: client, metrics: metrics, scales: scales, events: events, now: time.Now,
		histories: map[owner.Key]*history{}, selectors: map[owner.Key]labels.Selector{}}
	c.queue = queue.New("horizontalpodautoscaler", workers, c.sync)
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	return c.queue.Run(ctx, queue.Source{View: c.client.View(autoscalers.Resource), Handle: func(e api.Event) {
		if e.Type == api.Modified && equality.Semantic.DeepEqual(e.Old.(*autoscalingv2.HorizontalPodAutoscaler).Spec, e.New.(*autoscalingv2.HorizontalPodAutoscaler).Spec) {
			return // what this controller has written
		}
		c.queue.Add(owner.KeyOf(e.Object()))
	}})
}

func (c *Controller) sync(ctx context.Context, k owner.Key) error {
	hpa, ok := autoscalers.View(c.client).Get(k.Namespace, k.Name)
	if !ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.histories, k)
		delete(c.selectors, k)
		return nil
	}
	r := &round{Controller: c, key: k, hpa: hpa, status: *hpa.Status.DeepCopy(), now: c.now(), history: c.historyOf(k)}
	r.history.forget(r.now)
	err := r.reconcile(ctx)
	c.queue.AddAfter(k, every)
	// What failed is told by events and conditions, and tried again at the next turn.
	var failed *failure
	if err != nil && !errors.As(err, &failed) {
		return err
	}
	return r.write(ctx)
}

func (c *Controller) historyOf(k owner.Key) *history {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.histories[k] == nil {
		c.histories[k] = &history{}
	}
	return c.histories[k]
}

// A failure has been told to the user already.
type failure struct{ error }

// A round is one look at an autoscaler.
type round struct {
	*Controller
	key     owner.Key
	hpa     *autoscalingv2.HorizontalPodAutoscaler // read-only
	status  autoscalingv2.HorizontalPodAutoscalerStatus
	now     time.Time
	history *history
}

func (r *round) condition(t autoscalingv2.HorizontalPodAutoscalerConditionType, ok bool, n note) {
	setCondition(&r.status, t, ok, n, r.now)
}

// fail tells of err by an event, and returns that it has been told.
func (r *round) fail(reason string, err error) error {
	r.events.Event(r.hpa, corev1.EventTypeWarning, reason, "%s", err)
	return &failure{err}
}

func (r *round) reconcile(ctx context.Context) error {
	scale, resource, err := r.scales.Scale(ctx, r.hpa.Namespace, r.hpa.Spec.ScaleTargetRef)
	if err != nil {
		r.condition(autoscalingv2.AbleToScale, false, note{"FailedGetScale", fmt.Sprintf("the HPA controller was unable to get the target's current scale: %v", err)})
		return r.fail("FailedGetScale", err)
	}
	r.condition(autoscalingv2.AbleToScale, true, note{"SucceededGetScale", "the HPA controller was able to get the target's current scale"})
	b := bound{current: scale.Spec.Replicas, min: 1, max: r.hpa.Spec.MaxReplicas, behavior: r.hpa.Spec.Behavior}
	if r.hpa.Spec.MinReplicas != nil {
		b.min = *r.hpa.Spec.MinReplicas
	}
	if len(r.history.recommended) == 0 {
		r.history.recommended = []event{{r.now, b.current}}
	}
	desired, reason, err := r.decide(ctx, scale, b)
	if err != nil {
		r.status.CurrentReplicas = b.current
		return err
	}
	r.status.CurrentReplicas, r.status.DesiredReplicas = b.current, desired
	if desired == b.current {
		return nil
	}
	return r.rescale(ctx, scale, resource, desired, reason)
}

// decide returns how many replicas there should be, and why if that is another number than now.
func (r *round) decide(ctx context.Context, scale *autoscalingv1.Scale, b bound) (desired int32, reason string, err error) {
	switch {
	case b.current == 0:
		r.status.CurrentMetrics = nil
		r.condition(autoscalingv2.ScalingActive, false, note{"ScalingDisabled", "scaling is disabled since the replica count of the target is zero"})
		return 0, "", nil
	case b.current > b.max:
		r.status.CurrentMetrics = nil
		return b.max, "Current number of replicas above Spec.MaxReplicas", nil
	case b.current < b.min:
		r.status.CurrentMetrics = nil
		return b.min, "Current number of replicas below Spec.MinReplicas", nil
	}
	proposed, metric, err := r.measure(ctx, scale)
	if err != nil {
		return 0, "", r.fail("FailedComputeMetricsReplicas", err)
	}
	desired, n := r.history.stabilize(proposed, b, r.now)
	r.condition(autoscalingv2.AbleToScale, true, n)
	limited, n := r.history.limit(desired, b, r.now)
	r.condition(autoscalingv2.ScalingLimited, limited != desired, n)
	if proposed > b.current {
		return limited, metric + " above target", nil
	}
	return limited, "All metrics below target", nil
}

// rescale writes the number of replicas.
func (r *round) rescale(ctx context.Context, scale *autoscalingv1.Scale, resource api.Resource, desired int32, reason string) error {
	next := scale.DeepCopy()
	next.Spec.Replicas = desired
	// Only the number is meant: what else has changed about the object meanwhile does not matter.
	next.ResourceVersion = ""
	if _, err := r.client.Update(ctx, resource, "scale", next, metav1.UpdateOptions{}); err != nil {
		r.condition(autoscalingv2.AbleToScale, false, note{"FailedUpdateScale", fmt.Sprintf("the HPA controller was unable to update the target scale: %v", err)})
		r.status.DesiredReplicas = r.hpa.Status.DesiredReplicas
		r.events.Event(r.hpa, corev1.EventTypeWarning, "FailedRescale", "New size: %d; reason: %s; error: %v", desired, reason, err)
		return &failure{err}
	}
	r.condition(autoscalingv2.AbleToScale, true, note{"SucceededRescale", fmt.Sprintf("the HPA controller was able to update the target scale to %d", desired)})
	r.events.Event(r.hpa, corev1.EventTypeNormal, "SuccessfulRescale", "New size: %d; reason: %s", desired, reason)
	r.history.scaled(scale.Spec.Replicas, desired, r.now)
	at := metav1.NewTime(r.now)
	r.status.LastScaleTime = &at
	return nil
}

// write stores the status if it says something new.
func (r *round) write(ctx context.Context) error {
	return api.WriteStatus(ctx, r.client, autoscalers, r.hpa,
		func(hpa *autoscalingv2.HorizontalPodAutoscaler) *autoscalingv2.HorizontalPodAutoscalerStatus {
			return &hpa.Status
		}, r.status)
}
