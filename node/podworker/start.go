package podworker

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"clipper/api/containers"
	"clipper/node/podworker/lifecycle"
	"clipper/node/pull"
	"clipper/node/runtime"
)

// configRetry is the pause after a container could not even be created: what it refers to may appear.
const configRetry = 10 * time.Second

// stopRetry is the pause after the runtime could not stop a container.
const stopRetry = time.Second

func (w *Worker) start(a lifecycle.Action) carry {
	r := w.o.Record(a.Container)
	if r.Exited() {
		r.Backoff.Raise(r.Current.FinishedAt, time.Now(), w.cfg.restartPause())
	}
	c := containers.Named(&w.pod.Spec, a.Container)
	if r.Granted == nil {
		r.Granted = &c.Resources
	}
	c = r.WithResources(c)
	granted, whole := r.Granted, w.o.Granted
	r.Hook = c.Lifecycle != nil && c.Lifecycle.PostStart != nil
	ips, sandbox := w.o.IPs, lifecycle.SandboxID(w.pod, w.o.Attempt)
	grown := w.grantedPod()
	outdated := w.o.Outdated
	return func(ctx context.Context, _ *corev1.Pod) func(time.Time) {
		if outdated { // what grows needs room first; what shrinks the pod is done once this has started
			_ = w.cfg.Runtime.UpdateResources(ctx, sandbox, w.cfg.Cgroups.Pod(grown))
		}
		id, fail, hook := w.startContainer(ctx, grown, c, sandbox, a.Attempt, ips)
		var s runtime.ContainerStatus
		var err, updated error
		if id != "" {
			s, err = w.cfg.Runtime.Status(context.WithoutCancel(ctx), id)
		}
		if outdated {
			updated = w.cfg.Runtime.UpdateResources(ctx, sandbox, w.cfg.Cgroups.Pod(grown))
		}
		return func(now time.Time) {
			r.Applied, r.AppliedPod = granted, whole
			if outdated && updated == nil {
				w.o.Outdated = false
			}
			w.started(ctx, c.Name, id, s, err, fail, hook, now)
		}
	}
}

// started takes the result of a start: fail if there is no running container, hook if its postStart hook
// failed.
func (w *Worker) started(ctx context.Context, name, id string, s runtime.ContainerStatus, statusErr error, fail *lifecycle.Failure, hook error, now time.Time) {
	r := w.o.Record(name)
	r.Replacing = false
	r.Hook, r.Image, r.Failure = false, lifecycle.ImageState{Backoff: r.Image.Backoff}, nil
	if id != "" && statusErr == nil {
		r.Unhealthy = ""
		w.observe(s)
	}
	switch {
	case fail != nil && ctx.Err() == nil:
		r.Failure = fail
		if id == "" { // else the container that could not start counts as one that ended
			r.RetryAt = now.Add(configRetry)
		}
	case hook != nil && ctx.Err() == nil:
		r.Unhealthy = lifecycle.FailedHook
		r.Failure = &lifecycle.Failure{Reason: "PostStartHookError", Message: hook.Error()}
	}
}

// startContainer creates and starts a container and runs its hook. id is set once the container exists.
func (w *Worker) startContainer(ctx context.Context, pod *corev1.Pod, c *corev1.Container, sandbox string, attempt int, ips []netip.Addr) (id string, fail *lifecycle.Failure, hook error) {
	spec, err := w.containerSpec(ctx, pod, c, sandbox, attempt, ips)
	if err != nil {
		w.failed(ctx, c.Name, "Error: %v", err)
		return "", &lifecycle.Failure{Reason: "CreateContainerConfigError", Message: err.Error()}, nil
	}
	id, err = w.cfg.Runtime.CreateContainer(ctx, spec)
	if err != nil {
		w.failed(ctx, c.Name, "Error: %v", err)
		return "", &lifecycle.Failure{Reason: "CreateContainerError", Message: err.Error()}, nil
	}
	w.event(c.Name, corev1.EventTypeNormal, "Created", "Container created")
	if err := w.cfg.Runtime.StartContainer(ctx, id); err != nil {
		w.failed(ctx, c.Name, "Error: %v", err)
		return id, &lifecycle.Failure{Reason: "RunContainerError", Message: err.Error()}, nil
	}
	w.event(c.Name, corev1.EventTypeNormal, "Started", "Container started")
	if err := w.cfg.LogLinks.Add(pod.Namespace, pod.Name, c.Name, id, spec.LogPath); err != nil {
		w.log.Warn("Collectors of logs will not find a container's", "container", c.Name, "err", err)
	}
	if c.Lifecycle != nil && c.Lifecycle.PostStart != nil {
		if err := w.hook(ctx, c, id, c.Lifecycle.PostStart, ips); err != nil && ctx.Err() == nil {
			w.event(c.Name, corev1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed")
			return id, nil, err
		}
	}
	return id, nil, nil
}

func (w *Worker) failed(ctx context.Context, container, format string, args ...any) {
	if ctx.Err() == nil {
		w.event(container, corev1.EventTypeWarning, "Failed", format, args...)
	}
}

// exec runs a command in a container and returns its exit code and up to limit bytes of output.
func (w *Worker) exec(ctx context.Context, id string, command []string, limit int) (int, string, error) {
	buf := &head{limit: limit}
	code, err := w.cfg.Runtime.Exec(ctx, id, runtime.Exec{Command: command, Short: true, Stdout: buf, Stderr: buf})
	return code, buf.String(), err
}

func (w *Worker) pull(a lifecycle.Action) carry {
	c := containers.Named(&w.pod.Spec, a.Container)
	return func(ctx context.Context, pod *corev1.Pod) func(time.Time) {
		fail := w.ensureImage(ctx, pod, c)
		return func(now time.Time) {
			s := &w.o.Record(c.Name).Image
			switch {
			case fail == nil:
				s.Ready, s.Failure = true, nil
			case ctx.Err() == nil:
				if pull.BacksOff(fail.Reason) {
					s.Backoff.Raise(s.Since, now, lifecycle.MaxBackoff)
				} else {
					s.Backoff = lifecycle.Backoff{Delay: configRetry, Set: now}
				}
				s.Failure, s.Since = fail, now
				w.failed(ctx, c.Name, "Error: %s", fail.Reason)
			}
		}
	}
}

// ensureImage makes the image present as the pull policy says.
func (w *Worker) ensureImage(ctx context.Context, pod *corev1.Pod, c *corev1.Container) *lifecycle.Failure {
	tell := func(container string) func(eventType, reason, format string, args ...any) {
		return func(eventType, reason, format string, args ...any) {
			w.event(container, eventType, reason, format, args...)
		}
	}
	f := w.cfg.Puller.Ensure(ctx, pull.Request{Pod: pod, Image: c.Image, Policy: c.ImagePullPolicy, Tell: tell(c.Name), TellPod: tell("")})
	if f == nil {
		return nil
	}
	return &lifecycle.Failure{Reason: f.Reason, Message: f.Message}
}

func (w *Worker) stop(a lifecycle.Action) carry {
	c := containers.Named(&w.pod.Spec, a.Container)
	ips := w.o.IPs
	told := w.told["stop:"+a.Container] == a.ID
	w.told["stop:"+a.Container] = a.ID
	unhealthy := w.o.Record(a.Container).Unhealthy
	if a.Replace {
		r := w.o.Record(a.Container)
		r.Replacing, r.Backoff = true, lifecycle.Backoff{}
	}
	skipHook := w.told["prestop:"+a.Container] == a.ID
	w.told["prestop:"+a.Container] = a.ID
	return func(ctx context.Context, pod *corev1.Pod) func(time.Time) {
		if !told {
			w.event(a.Container, corev1.EventTypeNormal, "Killing", "%s", a.Message)
		}
		grace := a.Grace
		if c != nil && c.Lifecycle != nil && c.Lifecycle.PreStop != nil && grace > 0 && !skipHook {
			grace = w.preStop(ctx, c, a.ID, grace, ips)
		}
		err := w.cfg.Runtime.StopContainer(ctx, a.ID, grace)
		s, statusErr := w.cfg.Runtime.Status(context.WithoutCancel(ctx), a.ID)
		return func(now time.Time) {
			w.o.Record(a.Container).Unhealthy = ""
			if statusErr == nil {
				w.observe(s)
			}
			switch {
			case errors.Is(statusErr, runtime.ErrNotFound):
				w.forget(a.Container, a.ID)
			case err != nil && ctx.Err() == nil:
				w.log.Warn("Stopping a container failed; it will be retried", "container", a.Container, "err", err)
				r := w.o.Record(a.Container)
				r.StopAt, r.Unhealthy = now.Add(stopRetry), unhealthy
			}
		}
	}
}

// preStopAhead tells a sidecar that it will be stopped once those that it serves have been.
func (w *Worker) preStopAhead(a lifecycle.Action) carry {
	c := containers.Named(&w.pod.Spec, a.Container)
	ips := w.o.IPs
	w.told["stop:"+a.Container], w.told["prestop:"+a.Container] = a.ID, a.ID
	w.o.Record(a.Container).Announced = a.ID
	return func(ctx context.Context, pod *corev1.Pod) func(time.Time) {
		w.event(a.Container, corev1.EventTypeNormal, "Killing", "%s", a.Message)
		if c.Lifecycle != nil && c.Lifecycle.PreStop != nil && a.Grace > 0 {
			w.preStop(ctx, c, a.ID, a.Grace, ips)
		}
		return func(time.Time) {}
	}
}

// preStop runs the hook within the grace period and returns what is left of it.
func (w *Worker) preStop(ctx context.Context, c *corev1.Container, id string, grace time.Duration, ips []netip.Addr) time.Duration {
	began := time.Now()
	hctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	err := w.hook(hctx, c, id, c.Lifecycle.PreStop, ips)
	if err != nil && hctx.Err() == nil {
		w.event(c.Name, corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed")
	}
	return max(grace-time.Since(began), lifecycle.MinimumGrace)
}

// forget drops a container that the runtime no longer knows: it must not be waited for.
func (w *Worker) forget(name, id string) {
	if r := w.o.Record(name); r.Current != nil && r.Current.ID == id {
		s := *r.Current
		s.State, s.ExitCode, s.FinishedAt = runtime.Exited, 137, time.Now()
		s.Reason, s.Message = "ContainerStatusUnknown", "The container could not be located when the pod was terminated"
		r.Current = &s
	}
}

// head keeps the first limit bytes written to it.
type head struct {
	limit int
	b     strings.Builder
}

func (h *head) Write(p []byte) (int, error) {
	if room := h.limit - h.b.Len(); room > 0 {
		h.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (h *head) String() string { return h.b.String() }
