// Package lifecycle is a pod's life on a node as pure functions of values: Decide says what to do next, of the pod, of
// what has been observed of it and the time; Status says what to report. Neither acts, waits, reads a clock or changes
// its arguments. Package podworker observes, carries the actions out and feeds their results back.
//
// Behaviour, reasons and messages are those of a v1.36 kubelet as a client of the API sees them.
package lifecycle

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"clipper/node/runtime"
)

// A Plan is what to do now, and when to look again at the latest (zero: when something happens).
type Plan struct {
	Actions []Action
	Wake    time.Time
}

type planner struct {
	pod *corev1.Pod
	o   *Observed
	now time.Time
	out Plan
}

// Decide says what the pod needs at the time now. It changes neither argument.
func Decide(pod *corev1.Pod, o *Observed, now time.Time) Plan {
	p := planner{pod: pod, o: o, now: now}
	switch {
	case o.Verdict != nil || pod.DeletionTimestamp != nil || o.Gone:
		p.terminate()
	case finished(pod, o):
		p.windDown()
	default:
		p.run()
	}
	return p.out
}

func (p *planner) add(a Action) {
	if !p.o.Busy[a.Key()] {
		p.out.Actions = append(p.out.Actions, a)
	}
}

// wakeAt asks to be run again at t.
func (p *planner) wakeAt(t time.Time) {
	if p.out.Wake.IsZero() || t.Before(p.out.Wake) {
		p.out.Wake = t
	}
}

// due reports whether a step has to be taken now; a failed one waits for its pause.
func (p *planner) due(s Step) bool {
	if s.Done {
		return false
	}
	if p.now.Before(s.RetryAt) {
		p.wakeAt(s.RetryAt)
		return false
	}
	return true
}

// run moves a living pod forward: deadline, then sandbox, then containers.
func (p *planner) run() {
	if p.pastDeadline() {
		p.add(Action{Op: Fail, Reason: "DeadlineExceeded",
			Message: "Pod was active on the node longer than the specified deadline"})
		return
	}
	for _, id := range p.o.Stale {
		p.add(Action{Op: DropStale, ID: id})
	}
	if restartingAll(p.pod, p.o) {
		p.reset()
		return
	}
	p.dropOldRecords()
	if p.allocates() {
		if p.due(p.o.Allocated) {
			p.add(Action{Op: Allocate})
		}
		if !p.o.AnyRunning() {
			return
		}
	}
	if p.due(p.o.Volumes) {
		p.add(Action{Op: Mount})
	}
	p.sandbox()
	p.containers()
	p.resizePod()
}

// resizePod gives the pod as a whole what it has been granted.
func (p *planner) resizePod() {
	if !p.o.Sandbox.Done || !p.o.podResizing() || p.containersResizing() {
		return
	}
	if p.now.Before(p.o.ResizeAt) {
		p.wakeAt(p.o.ResizeAt)
		return
	}
	p.add(Action{Op: ResizePod})
}

// containersResizing reports whether a running container is to be resized first: that makes room as well.
func (p *planner) containersResizing() bool {
	for _, r := range p.o.Containers {
		if r.Running() && p.o.outgrown(r) {
			return true
		}
	}
	return false
}

// pastDeadline reports whether activeDeadlineSeconds have passed since the node took the pod.
func (p *planner) pastDeadline() bool {
	seconds := p.pod.Spec.ActiveDeadlineSeconds
	if seconds == nil || p.o.StartTime.IsZero() {
		return false
	}
	end := p.o.StartTime.Add(time.Duration(*seconds) * time.Second)
	if p.now.Before(end) {
		p.wakeAt(end)
		return false
	}
	return true
}

// sandbox attaches the pod to the network, then runs its sandbox. Attaching is repeated for a sandbox that
// was found running: it is idempotent, and says which addresses the pod has.
func (p *planner) sandbox() {
	if !p.pod.Spec.HostNetwork && !p.o.Network.Done {
		if p.due(p.o.Network) {
			p.add(Action{Op: Attach, Attempt: p.o.Attempt})
		}
		return
	}
	if p.due(p.o.Sandbox) {
		p.add(Action{Op: RunSandbox, Attempt: p.o.Attempt})
	}
}

// dropOldRecords keeps the current and one dead container per name, for logs --previous.
func (p *planner) dropOldRecords() {
	for i := range p.pod.Spec.Containers {
		p.dropOlder(p.pod.Spec.Containers[i].Name)
	}
	for i := range p.pod.Spec.InitContainers {
		p.dropOlder(p.pod.Spec.InitContainers[i].Name)
	}
}

func (p *planner) dropOlder(name string) {
	if r := p.o.Containers[name]; r != nil {
		for _, id := range r.Older {
			p.add(Action{Op: Remove, Container: name, ID: id})
		}
	}
}

// containers starts, restarts and kills containers in the order init containers prescribe. Ephemeral ones may
// look into a pod that never gets so far.
func (p *planner) containers() {
	for i := range p.pod.Spec.EphemeralContainers {
		c := (*corev1.Container)(&p.pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		if r := p.rec(c.Name); !r.hasRun() {
			p.start(c, r)
		}
	}
	initialized := hasInitialized(p.pod, p.o)
	for i := range p.pod.Spec.InitContainers {
		c := &p.pod.Spec.InitContainers[i]
		r := p.rec(c.Name)
		if IsSidecar(c) {
			p.keep(c, r)
			if !initialized && !r.Started(c) {
				return // the next one waits until this one is up
			}
			continue
		}
		switch {
		case initialized, r.Exited() && r.Current.ExitCode == 0 && p.o.inSandbox(r):
			continue
		case r.Exited() && !p.o.inSandbox(r):
			p.start(c, r) // a new sandbox begins with the first one
		default:
			p.keep(c, r)
		}
		return
	}
	for i := range p.pod.Spec.Containers {
		c := &p.pod.Spec.Containers[i]
		p.keep(c, p.rec(c.Name))
	}
}

// rec returns the record of a container for reading.
func (p *planner) rec(name string) *Record {
	if r := p.o.Containers[name]; r != nil {
		return r
	}
	return &Record{}
}

// keep holds one container to its spec.
func (p *planner) keep(c *corev1.Container, r *Record) {
	switch {
	case p.o.Busy[Action{Op: Start, Container: c.Name}.Key()]:
	case r.Running():
		p.keepRunning(c, r)
	case r.stillborn(): // in the way of another attempt
		p.add(Action{Op: Remove, Container: c.Name, ID: r.Current.ID})
	case r.Exited() && r.Replacing: // whatever the policy
		p.start(c, r)
	case r.Exited() && !ShouldRestart(p.pod, c, r.Current.ExitCode):
	case r.Exited():
		at := r.Backoff.Until(r.Current.FinishedAt)
		if p.now.Before(at) {
			p.wakeAt(at)
			return
		}
		p.start(c, r)
	default:
		p.start(c, r)
	}
}

func (p *planner) keepRunning(c *corev1.Container, r *Record) {
	stop := Action{Op: Stop, Container: c.Name, ID: r.Current.ID, Grace: graceFor(p.pod, c, r.Unhealthy)}
	switch {
	case r.Unhealthy != "":
		stop.Message = p.unhealthyMessage(c, r.Unhealthy)
		p.stop(r, stop)
	case r.Current.Image != c.Image && IsInit(p.pod, c.Name):
		stop.Message, stop.Replace = fmt.Sprintf("Init container %s definition changed", c.Name), true
		p.stop(r, stop)
	case r.Current.Image != c.Image:
		stop.Message, stop.Replace = fmt.Sprintf("Container %s definition changed, will be restarted", c.Name), true
		p.stop(r, stop)
	case p.o.outgrown(r):
		p.resize(c, r, stop)
	}
}

// unhealthyMessage says why a container is killed while its pod lives on.
func (p *planner) unhealthyMessage(c *corev1.Container, why Ailment) string {
	switch {
	case why == FailedHook:
		return string(why)
	case IsInit(p.pod, c.Name):
		return fmt.Sprintf("Init container %s failed %s", c.Name, why)
	case restartPolicy(p.pod, c) != corev1.RestartPolicyNever:
		return fmt.Sprintf("Container %s failed %s, will be restarted", c.Name, why)
	case !p.othersLive(c):
		return "Stopping container " + c.Name // the pod ends with it
	}
	return fmt.Sprintf("Container %s failed %s", c.Name, why)
}

// othersLive reports whether another regular container runs or is going to.
func (p *planner) othersLive(c *corev1.Container) bool {
	for i := range p.pod.Spec.Containers {
		o := &p.pod.Spec.Containers[i]
		r := p.rec(o.Name)
		if o.Name != c.Name && !(r.Exited() && !ShouldRestart(p.pod, o, r.Current.ExitCode)) {
			return true
		}
	}
	return false
}

// resize gives a running container what it has been granted, in place or by a restart.
func (p *planner) resize(c *corev1.Container, r *Record, stop Action) {
	has, wants := p.o.Shares(r)
	switch {
	case needsRestart(c, has, wants):
		stop.Message, stop.Replace = fmt.Sprintf("Container %s resize requires restart", c.Name), true
		p.stop(r, stop)
	case p.now.Before(r.ResizeAt):
		p.wakeAt(r.ResizeAt)
	case r.Current.State == runtime.Running:
		p.add(Action{Op: Resize, Container: c.Name, ID: r.Current.ID})
	}
}

// start makes sure of the image, then starts the container once sandbox and volumes are there.
func (p *planner) start(c *corev1.Container, r *Record) {
	if p.o.Busy[Action{Op: Start, Container: c.Name}.Key()] {
		return
	}
	if p.now.Before(r.RetryAt) {
		p.wakeAt(r.RetryAt)
		return
	}
	if !r.Image.Ready {
		p.pull(c, r)
		return
	}
	for _, id := range r.Unborn {
		p.add(Action{Op: Remove, Container: c.Name, ID: id})
	}
	if p.o.Sandbox.Done && p.o.Volumes.Done && len(r.Unborn) == 0 {
		p.add(Action{Op: Start, Container: c.Name, Attempt: r.nextAttempt()})
	}
}

// ShowBackoff is how long a failed pull is reported as such before the report says that it is backing off.
const ShowBackoff = 2 * time.Second

func (p *planner) pull(c *corev1.Container, r *Record) {
	if r.Image.Failure != nil {
		if at := r.Image.Backoff.Until(r.Image.Since); p.now.Before(at) {
			p.wakeAt(at)
			if show := r.Image.Since.Add(ShowBackoff); p.now.Before(show) {
				p.wakeAt(show)
			}
			return
		}
	}
	p.add(Action{Op: Pull, Container: c.Name})
}

// allocates reports whether the pod needs something of the node's allocator, and is still without it.
func (p *planner) allocates() bool {
	return p.o.Scarce && !p.o.Allocated.Done
}
