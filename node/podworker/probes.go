package podworker

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"clipper/api/containers"
	"clipper/node/podworker/lifecycle"
	"clipper/node/probe"
	"clipper/node/pull"
	"clipper/node/runtime"
)

// probing is a probe under way on one container.
type probing struct {
	container string // its ID
	cancel    context.CancelFunc
}

// syncProbes starts the probes that running containers need now and ends those of others. Liveness and
// startup probes end with the pod's life; readiness is watched until the container has stopped.
func (w *Worker) syncProbes(ctx context.Context) {
	ending := !w.o.KillSince.IsZero()
	wanted := map[string]bool{}
	each := func(c *corev1.Container) {
		r := w.o.Containers[c.Name]
		if r == nil || r.Current == nil || r.Current.State != runtime.Running || r.Hook {
			return
		}
		if r.ProbedID != r.Current.ID {
			r.ProbedID, r.Startup, r.Ready = r.Current.ID, c.StartupProbe == nil, false
			w.recallProbes(c, r)
		}
		want := func(k probe.Kind, p *corev1.Probe) {
			if p != nil && (w.o.Network.Done || w.pod.Spec.HostNetwork) {
				wanted[string(k)+":"+c.Name] = true
				w.startProbe(ctx, c, r, k, p)
			}
		}
		if !r.Started(c) {
			if !ending {
				want(probe.Startup, c.StartupProbe)
			}
			return
		}
		if !ending {
			want(probe.Liveness, c.LivenessProbe)
		}
		want(probe.Readiness, c.ReadinessProbe)
	}
	for i := range w.pod.Spec.Containers {
		each(&w.pod.Spec.Containers[i])
	}
	for i := range w.pod.Spec.InitContainers {
		if c := &w.pod.Spec.InitContainers[i]; lifecycle.IsSidecar(c) {
			each(c)
		}
	}
	for key, p := range w.probes {
		if !wanted[key] {
			p.cancel()
			delete(w.probes, key)
		}
	}
}

// recallProbes takes over the verdicts that the API has of this very container: a restart of the agent
// must not make a ready pod unready.
func (w *Worker) recallProbes(c *corev1.Container, r *lifecycle.Record) {
	for s := range containers.Statuses(&w.pod.Status) {
		if s.Name == c.Name && s.ContainerID == w.o.FullID(r.Current.ID) {
			r.Ready = s.Ready
			r.Startup = r.Startup || (s.Started != nil && *s.Started)
		}
	}
}

func (w *Worker) startProbe(ctx context.Context, c *corev1.Container, r *lifecycle.Record, k probe.Kind, p *corev1.Probe) {
	key := string(k) + ":" + c.Name
	id := r.Current.ID
	if old := w.probes[key]; old != nil {
		if old.container == id {
			return
		}
		old.cancel()
	}
	ctx, cancel := context.WithCancel(ctx)
	w.probes[key] = &probing{container: id, cancel: cancel}
	initial := probe.Unknown
	if k == probe.Readiness && r.Ready {
		initial = probe.Success
	}
	pr := probe.Prober{
		Kind: k, Probe: p, StartedAt: r.Current.StartedAt, Initial: initial,
		Target: probe.Target{PodIP: w.cfg.podIP(w.o.IPs), Container: c,
			Exec: func(ctx context.Context, command []string, limit int) (int, string, error) {
				return w.exec(ctx, id, command, limit)
			}},
		Checked: w.cfg.Probes.Observer(w.pod, c.Name, k),
		Failed: func(out string, err error) {
			w.post(func() { w.probeFailed(c.Name, k, out, err) })
		},
		Warned: func(out string) {
			w.event(c.Name, corev1.EventTypeWarning, "ProbeWarning", "%s probe warning: %s", k, out)
		},
		Changed: func(v probe.Result, msg string) {
			w.post(func() { w.probeChanged(c.Name, id, k, v) })
		},
	}
	w.wg.Go(func() { pr.Run(ctx) })
}

func (w *Worker) probeFailed(name string, k probe.Kind, out string, err error) {
	if err != nil {
		w.event(name, corev1.EventTypeWarning, "Unhealthy", "%s probe errored and resulted in unknown state: %v", k, err)
		return
	}
	w.event(name, corev1.EventTypeWarning, "Unhealthy", "%s probe failed: %s", k, out)
}

func (w *Worker) probeChanged(name, id string, k probe.Kind, v probe.Result) {
	r := w.o.Record(name)
	if r.Current == nil || r.Current.ID != id {
		return
	}
	switch {
	case k == probe.Readiness:
		r.Ready = v == probe.Success
	case k == probe.Startup && v == probe.Success:
		r.Startup = true
	case k == probe.Startup && v == probe.Failure:
		r.Unhealthy = lifecycle.FailedStartup
	case k == probe.Liveness && v == probe.Failure:
		r.Unhealthy = lifecycle.FailedLiveness
	}
}

// tellBackoffs records, once per failure, that a container or an image is being held back.
func (w *Worker) tellBackoffs(now time.Time) {
	if !w.o.KillSince.IsZero() {
		return
	}
	for name, r := range w.o.Containers {
		c := containers.Named(&w.pod.Spec, name)
		if c == nil || w.o.Busy[lifecycle.Action{Op: lifecycle.Start, Container: name}.Key()] {
			continue
		}
		if r.Exited() && lifecycle.ShouldRestart(w.pod, c, r.Current.ExitCode) && now.Before(r.Backoff.Until(r.Current.FinishedAt)) &&
			w.told["backoff:"+name] != r.Current.ID {
			w.told["backoff:"+name] = r.Current.ID
			w.event(name, corev1.EventTypeWarning, "BackOff", "Back-off restarting failed container %s in pod %s", name, lifecycle.FullName(w.pod))
		}
		if f := r.Image.Failure; f != nil && pull.BacksOff(f.Reason) && !now.Before(r.Image.Since.Add(lifecycle.ShowBackoff)) {
			if since := r.Image.Since.String(); w.told["image:"+name] != since {
				w.told["image:"+name] = since
				w.event(name, corev1.EventTypeNormal, "BackOff", "Back-off pulling image %q", c.Image)
				w.event(name, corev1.EventTypeWarning, "Failed", "Error: ImagePullBackOff")
			}
		}
	}
}
