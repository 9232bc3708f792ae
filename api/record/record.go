// Package record writes the events that `kubectl describe` shows. A Recorder never blocks its caller: what
// it is told goes through a bounded queue to one goroutine, which merges repetitions and holds back floods
// with upstream's own correlator, so that counts and wording are what users know.
package record

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/tools/reference"
	"k8s.io/utils/clock"

	"clipper/api"
)

// queued bounds what waits to be written; beyond it events are dropped and counted in the log.
const queued = 1000

// A Recorder writes events in the name of one component.
type Recorder struct {
	client    api.Client
	source    corev1.EventSource
	clock     clock.PassiveClock
	queue     chan *corev1.Event
	correlate *record.EventCorrelator
}

// New returns a Recorder for component ("kubelet", "default-scheduler", …) on host ("" off a node). Events
// are written while Run runs.
func New(c api.Client, component, host string) *Recorder {
	return newRecorder(c, component, host, clock.RealClock{})
}

func newRecorder(c api.Client, component, host string, clk clock.PassiveClock) *Recorder {
	return &Recorder{
		client:    c,
		source:    corev1.EventSource{Component: component, Host: host},
		clock:     clk,
		queue:     make(chan *corev1.Event, queued),
		correlate: record.NewEventCorrelator(clk),
	}
}

// Event records that reason happened to obj. eventType is corev1.EventTypeNormal or EventTypeWarning.
func (r *Recorder) Event(obj api.Object, eventType, reason, format string, args ...any) {
	ref, err := reference.GetReference(scheme.Scheme, obj)
	if err != nil {
		slog.Error("event about an object of unknown kind", "reason", reason, "err", err)
		return
	}
	r.EventAt(*ref, eventType, reason, format, args...)
}

// EventAt records an event about a reference, which may name a part of an object by its FieldPath:
// "spec.containers{web}".
func (r *Recorder) EventAt(ref corev1.ObjectReference, eventType, reason, format string, args ...any) {
	r.record(ref, nil, eventType, reason, fmt.Sprintf(format, args...))
}

// EventAnnotated records an event about a pod that programs read more from than its message.
func (r *Recorder) EventAnnotated(pod *corev1.Pod, annotations map[string]string, eventType, reason, message string) {
	r.record(corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
		ResourceVersion: pod.ResourceVersion}, annotations, eventType, reason, message)
}

func (r *Recorder) record(ref corev1.ObjectReference, annotations map[string]string, eventType, reason, message string) {
	now := metav1.NewTime(r.clock.Now())
	namespace := ref.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault // where upstream files events of cluster-scoped objects
	}
	e := &corev1.Event{
		ObjectMeta:          metav1.ObjectMeta{Name: fmt.Sprintf("%s.%x", ref.Name, now.UnixNano()), Namespace: namespace, Annotations: annotations},
		InvolvedObject:      ref,
		Reason:              reason,
		Message:             message,
		FirstTimestamp:      now,
		LastTimestamp:       now,
		Count:               1,
		Type:                eventType,
		Source:              r.source,
		ReportingController: r.source.Component,
		ReportingInstance:   r.source.Host,
	}
	select {
	case r.queue <- e:
	default:
		slog.Warn("event dropped, the queue is full", "object", ref.Namespace+"/"+ref.Name, "reason", reason)
	}
}

// Run writes events until ctx ends, then what is already queued for at most half a second.
func (r *Recorder) Run(ctx context.Context) error {
	for {
		select {
		case e := <-r.queue:
			r.write(ctx, e)
		case <-ctx.Done():
			r.drain(ctx)
			return ctx.Err()
		}
	}
}

func (r *Recorder) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 500*time.Millisecond)
	defer cancel()
	for ctx.Err() == nil {
		select {
		case e := <-r.queue:
			r.write(ctx, e)
		default:
			return
		}
	}
}

// write stores one event or raises the count of the one it repeats. A failure loses the event, as
// upstream: events are advice, and the state they speak of is in the object's status.
func (r *Recorder) write(ctx context.Context, e *corev1.Event) {
	result, err := r.correlate.EventCorrelate(e)
	if err != nil || result.Skip {
		return
	}
	e = result.Event
	if e.Count > 1 {
		patched, err := api.CoreEvents.Patch(ctx, r.client, e.Namespace, e.Name, "", types.StrategicMergePatchType, result.Patch)
		if err == nil {
			r.correlate.UpdateState(patched)
			return
		}
		if !apierrors.IsNotFound(err) {
			logFailure(e, err)
			return
		}
		e = e.DeepCopy() // its predecessor has expired: start anew
		e.ResourceVersion, e.Count = "", 1
	}
	created, err := api.CoreEvents.Create(ctx, r.client, e)
	if err != nil {
		logFailure(e, err)
		return
	}
	r.correlate.UpdateState(created)
}

func logFailure(e *corev1.Event, err error) {
	level := slog.LevelWarn
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) || apierrors.IsNotFound(err) {
		level = slog.LevelDebug // the namespace is going away, and its events with it
	}
	slog.Log(context.Background(), level, "event not written", "object", e.InvolvedObject.Namespace+"/"+e.InvolvedObject.Name, "reason", e.Reason, "err", err)
}
