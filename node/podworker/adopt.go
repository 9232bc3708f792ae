package podworker

import (
	"context"
	"errors"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"clipper/api/containers"
	"clipper/node/podworker/lifecycle"
	"clipper/node/runtime"
)

// adopt takes what the runtime and the API already know of the pod, as after a restart of the agent.
func (w *Worker) adopt(sandboxes []runtime.SandboxStatus, found []runtime.ContainerStatus) {
	w.o.StartTime = time.Now()
	if t := w.pod.Status.StartTime; t != nil {
		w.o.StartTime = t.Time
	}
	for s := range containers.Statuses(&w.pod.Status) {
		r := w.o.Record(s.Name)
		r.Restarts, r.Ran = int(s.RestartCount), s.ContainerID != ""
	}
	w.adoptSandboxes(sandboxes)
	slices.SortFunc(found, func(a, b runtime.ContainerStatus) int { return a.Attempt - b.Attempt })
	for _, s := range found {
		if s.State == runtime.Created {
			// The agent died before it started it. It has never run: it goes, and the next is no restart.
			r := w.o.Record(s.Name)
			r.Unborn, r.Ran = append(r.Unborn, s.ID), r.Ran && !w.reported(s.ID)
			continue
		}
		w.observe(s)
	}
	w.adoptResources()
	if p := w.pod.Status.Phase; (p == corev1.PodSucceeded || p == corev1.PodFailed) && w.o.Verdict == nil {
		w.o.Verdict = &lifecycle.Verdict{Phase: p, Reason: w.pod.Status.Reason, Message: w.pod.Status.Message,
			Rejected: len(w.pod.Status.ContainerStatuses) == 0}
	}
}

// reported says whether the API has a container as the newest of its name.
func (w *Worker) reported(id string) bool {
	for s := range containers.Statuses(&w.pod.Status) {
		if s.ContainerID == w.o.FullID(id) {
			return true
		}
	}
	return false
}

// adoptSandboxes continues with the newest sandbox if it still stands; else, as after a reboot, the pod
// gets a new one.
func (w *Worker) adoptSandboxes(list []runtime.SandboxStatus) {
	for _, s := range list {
		_, n := lifecycle.SandboxOwner(s.ID)
		w.o.Attempt = max(w.o.Attempt, n)
	}
	for _, s := range list {
		_, n := lifecycle.SandboxOwner(s.ID)
		switch {
		case n == w.o.Attempt && s.Ready:
			w.o.Sandbox.Succeed()
			w.o.NetNS = s.NetNS
			w.o.Outdated = true // for all we know
		default:
			w.o.Stale = append(w.o.Stale, s.ID)
		}
	}
	if len(list) > 0 && !w.o.Sandbox.Done && w.pod.DeletionTimestamp == nil {
		w.o.Attempt++
		w.event("", corev1.EventTypeNormal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
	}
}

// SandboxChanged tells the worker that the runtime has news of a sandbox.
func (w *Worker) SandboxChanged(id string) {
	w.post(func() {
		if id != lifecycle.SandboxID(w.pod, w.o.Attempt) || !w.o.Sandbox.Done || lifecycle.Ending(w.pod, &w.o) {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		st, err := w.cfg.Runtime.SandboxStatus(ctx, id)
		if errors.Is(err, runtime.ErrNotFound) || err == nil && !st.Ready {
			w.replaceSandbox(id)
		}
	})
}

// replaceSandbox gives the pod a new sandbox for one that somebody else has stopped, or that the runtime has lost.
func (w *Worker) replaceSandbox(id string) {
	w.o.Stale = append(w.o.Stale, id)
	w.o.Attempt++
	w.o.Sandbox, w.o.Network, w.o.IPs, w.o.NetNS = lifecycle.Step{}, lifecycle.Step{}, nil, ""
	w.event("", corev1.EventTypeNormal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
}
