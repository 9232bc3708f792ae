// Package podworker brings one pod to life on a node, keeps it as its spec says, and takes it down without
// leaving anything behind. Each pod has a Worker, a goroutine that sleeps until something happens: the API
// object changed, a container exited, a probe changed its mind, a pause is over.
//
// What to do and what to report is decided by package lifecycle, purely. The worker carries actions out, several at
// a time where they do not depend on each other, and feeds their results back as observations. Nothing is remembered
// on disk: the API, the runtime's records and the kernel are enough to carry on after a crash of the agent.
package podworker

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"clipper/node/manifests"
	"clipper/node/podworker/lifecycle"
	"clipper/node/runtime"
)

// A Worker looks after one pod. Make it with New and call Run; the other methods may be called by anyone.
type Worker struct {
	cfg *Config
	log *slog.Logger

	mu    sync.Mutex
	inbox []func() // applied in order by Run's goroutine
	wake  chan struct{}

	subject atomic.Pointer[corev1.Pod] // pod, for events

	// The rest belongs to Run's goroutine.
	pod      *corev1.Pod // newest known object; read-only
	o        lifecycle.Observed
	wg       sync.WaitGroup
	run      context.Context // of what serves the living pod; cancelled when it terminates
	quit     context.CancelFunc
	stopping context.Context    // of the stops under way
	stops    context.CancelFunc // cuts them short, to repeat them with a shorter grace
	probes   map[string]*probing

	mirror    *corev1.Pod // of a static pod: what shows it in the API, nil if nothing does
	writing   bool
	sent      *corev1.PodStatus // last written
	heldUntil time.Time         // when to correct what someone else has made of it
	grantAt   time.Time         // when a resize that was deferred is tried again
	writeAt   time.Time         // after a failed write: not before
	told      map[string]string
	published snapshot
}

// snapshot is what others may ask a worker about.
type snapshot struct {
	mu      sync.Mutex
	pod     *corev1.Pod
	status  corev1.PodStatus
	sandbox string
	ended   bool
	removed bool
	states  map[string]*runtime.ContainerStatus
	prev    map[string]*runtime.ContainerStatus
}

// New returns the worker of pod. sandboxes and containers are what the runtime already holds of it.
// verdict, if not nil, rejects the pod before it has begun.
func New(cfg *Config, pod *corev1.Pod, sandboxes []runtime.SandboxStatus, containers []runtime.ContainerStatus, verdict *lifecycle.Verdict) *Worker {
	w := &Worker{
		cfg: cfg, pod: pod, wake: make(chan struct{}, 1), probes: map[string]*probing{}, told: map[string]string{},
		log: slog.With("pod", pod.Namespace+"/"+pod.Name, "uid", pod.UID),
		o:   lifecycle.Observed{Runtime: cfg.RuntimeName, Containers: map[string]*lifecycle.Record{}, Busy: map[string]bool{}},
	}
	if verdict != nil {
		rejected := *verdict
		rejected.Rejected = true
		w.o.Verdict = &rejected
	}
	w.subject.Store(pod)
	w.adopt(sandboxes, containers)
	w.publish(pod.Status)
	return w
}

// Run works until the pod is gone without a trace or ctx ends. In the latter case containers keep running.
func (w *Worker) Run(ctx context.Context) error {
	defer w.wg.Wait()
	w.run, w.quit = context.WithCancel(ctx)
	defer w.quit()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	w.wantScarce()
	w.grant()
	for {
		w.drain()
		done, next := w.step(ctx)
		if done {
			return nil
		}
		timer.Stop()
		var alarm <-chan time.Time
		if !next.IsZero() {
			timer.Reset(max(time.Until(next), 0))
			alarm = timer.C
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.wake:
		case <-alarm:
		}
	}
}

// step plans and starts what is to be done now. It returns when to look again.
func (w *Worker) step(ctx context.Context) (done bool, next time.Time) {
	for {
		now := time.Now()
		w.noteTermination(now)
		p := lifecycle.Decide(w.pod, &w.o, now)
		again := false
		for _, a := range p.Actions {
			switch a.Op {
			case lifecycle.Finish:
				return true, time.Time{}
			case lifecycle.Fail:
				w.o.Verdict = &lifecycle.Verdict{Phase: corev1.PodFailed, Reason: a.Reason, Message: a.Message}
				w.event("", corev1.EventTypeNormal, a.Reason, "%s", a.Message)
				again = true
			default:
				w.launch(ctx, a)
			}
		}
		if again {
			continue
		}
		w.syncProbes(ctx)
		w.tellBackoffs(now)
		w.noteResized()
		next = p.Wake
		if at := w.retryResize(now); !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
		if at := w.report(ctx, now); !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
		return false, next
	}
}

// noteTermination starts the clock of the grace period and ends what serves the living pod.
func (w *Worker) noteTermination(now time.Time) {
	ending := w.o.Verdict != nil || w.pod.DeletionTimestamp != nil || w.o.Gone
	if !ending || !w.o.KillSince.IsZero() {
		return
	}
	w.o.KillSince = now
	w.quit()
}

// launch carries out an action on its own goroutine. Its result comes back through the inbox.
func (w *Worker) launch(ctx context.Context, a lifecycle.Action) {
	w.o.Busy[a.Key()] = true
	carry, actx := w.prepare(ctx, a)
	pod := w.pod
	w.log.Debug("Action started", "action", a.String())
	began := time.Now()
	w.wg.Go(func() {
		apply := carry(actx, pod)
		w.post(func() {
			delete(w.o.Busy, a.Key())
			w.log.Debug("Action ended", "action", a.String(), "took", time.Since(began))
			apply(time.Now())
		})
	})
}

// post queues fn to run on the worker's goroutine.
func (w *Worker) post(fn func()) {
	w.mu.Lock()
	w.inbox = append(w.inbox, fn)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *Worker) drain() {
	w.mu.Lock()
	in := w.inbox
	w.inbox = nil
	w.mu.Unlock()
	for _, fn := range in {
		fn()
	}
}

// Update tells the worker of a newer state of its pod.
func (w *Worker) Update(pod *corev1.Pod) {
	w.post(func() { w.setPod(pod) })
}

func (w *Worker) setPod(pod *corev1.Pod) {
	if older(pod.ResourceVersion, w.pod.ResourceVersion) {
		return
	}
	if w.stops != nil && lifecycle.PodGrace(pod, w.o.Verdict) < lifecycle.PodGrace(w.pod, w.o.Verdict) {
		w.stops() // deleted again with less patience
	}
	w.pod = pod
	w.subject.Store(pod)
	w.grant()
}

// older reports whether revision a comes before b. Revisions that are no numbers are taken as newer.
func older(a, b string) bool {
	x, err1 := strconv.ParseUint(a, 10, 64)
	y, err2 := strconv.ParseUint(b, 10, 64)
	return err1 == nil && err2 == nil && x < y
}

// SetMirror tells the worker of a static pod what shows it in the API; nil: nothing does.
func (w *Worker) SetMirror(mirror *corev1.Pod) {
	w.post(func() {
		if mirror == nil || w.mirror == nil || mirror.UID != w.mirror.UID {
			w.sent = nil // nothing has been written to this one
		}
		if mirror == nil || w.mirror == nil || mirror.UID != w.mirror.UID || !older(mirror.ResourceVersion, w.mirror.ResourceVersion) {
			w.mirror = mirror
		}
	})
}

// Gone tells the worker that the pod is no longer in the API.
func (w *Worker) Gone() {
	w.post(func() { w.o.Gone = true })
}

// Evict ends the pod from the node's side.
func (w *Worker) Evict(v lifecycle.Verdict) {
	w.post(func() {
		if w.o.Verdict == nil {
			w.o.Verdict = &v
		}
	})
}

// Reclaim makes the worker remove the records and files of its pod, if that has ended.
func (w *Worker) Reclaim() {
	w.post(func() { w.o.Reclaim = w.o.TornDown })
}

// Ended reports whether nothing of the pod runs or takes up space any more but its records.
func (w *Worker) Ended() bool {
	w.published.mu.Lock()
	defer w.published.mu.Unlock()
	return w.published.ended
}

// Removed reports whether not even those are left.
func (w *Worker) Removed() bool {
	w.published.mu.Lock()
	defer w.published.mu.Unlock()
	return w.published.removed
}

// ContainerChanged tells the worker that the runtime has news of a container.
func (w *Worker) ContainerChanged(id string) {
	w.post(func() { w.refresh(id) })
}

// Nudge makes the worker retry at once what it is pausing before: something it waits for has changed.
func (w *Worker) Nudge() {
	w.post(func() {
		w.o.Volumes.RetryAt, w.o.Teardown.RetryAt = time.Time{}, time.Time{}
		for _, r := range w.o.Containers {
			r.RetryAt = time.Time{}
			r.Image.Backoff = lifecycle.Backoff{} // the login that a registry wanted may have come
		}
	})
}

func (w *Worker) refresh(id string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s, err := w.cfg.Runtime.Status(ctx, id)
	if err != nil {
		w.log.Debug("Container status", "container", id, "err", err)
		return
	}
	if s.State == runtime.Created {
		return // being started, which will tell: nobody need read of it in between
	}
	w.observe(s)
}

// observe takes a container's state and, once it has ended, its last words.
func (w *Worker) observe(s runtime.ContainerStatus) {
	r := w.o.Record(s.Name)
	r.Observe(s)
	if s.State == runtime.Exited {
		w.noteMessage(r, s)
	}
}

// report writes the status if it differs from what the API has. It returns when it changes by itself.
func (w *Worker) report(ctx context.Context, now time.Time) time.Time {
	if w.o.Gone || w.o.Deleted {
		return time.Time{}
	}
	shown := w.shown()
	st := lifecycle.Status(shown, &w.o, w.cfg.NodeIPs, now)
	w.publish(st)
	final := w.o.TornDown
	switch {
	case w.writing || shown == w.pod && manifests.IsStatic(w.pod):
		return time.Time{}
	case apiequality.Semantic.DeepEqual(&st, &shown.Status):
		w.heldUntil = time.Time{}
		if final && !w.o.Reported {
			w.o.Reported = true
			w.post(func() {})
		}
		return time.Time{}
	case now.Before(w.writeAt):
		return w.writeAt
	case !final && w.sent != nil && sameReport(&st, w.sent):
		// Nothing is new but that someone else has written. The kubelet puts that right at leisure, and
		// tests that fake a status count on it.
		if w.heldUntil.IsZero() {
			w.heldUntil = now.Add(correctAfter)
		}
		if now.Before(w.heldUntil) {
			return w.heldUntil
		}
	}
	w.heldUntil = time.Time{}
	w.writing = true
	next := *shown
	next.Status = st
	w.wg.Go(func() { w.write(ctx, &next, final) })
	return time.Time{}
}

// shown returns the object that shows the pod in the API: itself, or a static pod's mirror.
func (w *Worker) shown() *corev1.Pod {
	if w.mirror != nil {
		return w.mirror
	}
	return w.pod
}

// Status returns what was last derived of the pod, whether or not the API has it yet.
func (w *Worker) Status() (*corev1.Pod, corev1.PodStatus) {
	w.published.mu.Lock()
	defer w.published.mu.Unlock()
	return w.published.pod, w.published.status
}

// Sandbox returns the ID of the pod's sandbox, "" while none runs.
func (w *Worker) Sandbox() string {
	w.published.mu.Lock()
	defer w.published.mu.Unlock()
	return w.published.sandbox
}

// Container returns the newest and the previous attempt of a container; either may be nil.
func (w *Worker) Container(name string) (current, previous *runtime.ContainerStatus) {
	w.published.mu.Lock()
	defer w.published.mu.Unlock()
	return w.published.states[name], w.published.prev[name]
}

func (w *Worker) publish(st corev1.PodStatus) {
	states := make(map[string]*runtime.ContainerStatus, len(w.o.Containers))
	prev := map[string]*runtime.ContainerStatus{}
	for name, r := range w.o.Containers {
		if r.Current != nil {
			states[name] = r.Current
		}
		if r.Previous != nil {
			prev[name] = r.Previous
		}
	}
	sandbox := ""
	if w.o.Sandbox.Done {
		sandbox = lifecycle.SandboxID(w.pod, w.o.Attempt)
	}
	p := &w.published
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pod, p.status, p.sandbox, p.ended, p.states, p.prev = w.pod, st, sandbox, w.o.TornDown, states, prev
	p.removed = w.o.Removed
}

// event records an event about the pod or one of its containers. Actions call it from their goroutines.
func (w *Worker) event(container, eventType, reason, format string, args ...any) {
	pod := w.subject.Load()
	ref := corev1.ObjectReference{
		Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
		ResourceVersion: pod.ResourceVersion, FieldPath: fieldPath(pod, container),
	}
	w.cfg.Recorder.EventAt(ref, eventType, reason, format, args...)
}

func fieldPath(pod *corev1.Pod, container string) string {
	if container == "" {
		return ""
	}
	kind := "containers"
	if lifecycle.IsInit(pod, container) {
		kind = "initContainers"
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == container {
			kind = "ephemeralContainers"
		}
	}
	return "spec." + kind + "{" + container + "}"
}
