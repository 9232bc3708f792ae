package lifecycle

import (
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"clipper/node/runtime"
)

// Observed is everything the worker knows about a pod besides its spec: what the runtime, the network and
// the volumes have said so far, and what is under way. Only the worker's own goroutine touches it.
type Observed struct {
	StartTime time.Time // when the node took the pod
	Runtime   string    // name of the container runtime; "" for the built-in one

	Scarce    bool // the pod asks for devices and the like
	Allocated Step // it has been given them
	// Health is how the devices of a container are, by its name.
	Health map[string][]corev1.ResourceStatus

	Network Step // attached
	IPs     []netip.Addr
	NetNS   string
	Volumes Step // every volume is mounted
	Sandbox Step // Done: it runs
	Attempt int  // number of the current sandbox

	// Stale lists earlier sandboxes of the pod that still have to be stopped and removed.
	Stale []string

	Containers map[string]*Record // by container name, of all three kinds

	// Verdict ends the pod from the node's side: rejected, evicted, deadline exceeded.
	Verdict *Verdict
	// Gone: the pod is no longer in the API, so there is nothing left to report to.
	Gone bool

	// ResizePending: the spec asks for more than the node can grant.
	ResizePending *Resizing
	// Resizing: what has been granted is being applied; with a reason if that does not get on.
	Resizing *Resizing
	// Outdated: the limits of the pod's control group are perhaps those of before a resize.
	Outdated bool
	// Granted is what the node lets the pod as a whole have, Applied what it has: nil for one that asks for nothing
	// as a whole.
	Granted, Applied *corev1.ResourceRequirements
	ResizeAt         time.Time // after a failed change: not before

	// Reclaim: the disk is short, so what has ended leaves nothing behind.
	Reclaim bool

	KillSince time.Time // when termination began; zero before
	TornDown  bool      // processes, network and volumes are gone
	Removed   bool      // the runtime's records and the pod's files are gone too
	Deleted   bool      // the API object has been deleted by us
	Reported  bool      // the API has the final status
	Teardown  Step      // retry state of the clean-up
	Delete    Step      // retry state of the deletion from the API

	Busy map[string]bool // keys of the actions under way
}

// A Step is the progress of one thing a pod needs.
type Step struct {
	Done    bool
	RetryAt time.Time     // after a failure: not before
	Delay   time.Duration // the last pause
	Err     string        // the last failure
}

// Limits of the pause between attempts at a failed step. Upstream waits 0.5 s to about 2 min for volumes.
const (
	minStepDelay = 500 * time.Millisecond
	maxStepDelay = 2*time.Minute + 2*time.Second
)

// Fail records a failure at now and doubles the pause.
func (s *Step) Fail(now time.Time, err error) {
	s.Done = false
	s.Delay = min(max(2*s.Delay, minStepDelay), maxStepDelay)
	s.RetryAt = now.Add(s.Delay)
	s.Err = err.Error()
}

// Succeed marks the step done and forgets failures.
func (s *Step) Succeed() { *s = Step{Done: true} }

// A Verdict is a final phase with its reason.
type Verdict struct {
	Phase           corev1.PodPhase
	Reason, Message string
	Rejected        bool                 // the pod has never begun: there is nothing to say of its containers
	Condition       *corev1.PodCondition // an additional condition, DisruptionTarget
	Grace           *time.Duration       // overrides the pod's termination grace period
}

// A Record is what is known about one container of the pod.
type Record struct {
	Current  *runtime.ContainerStatus // newest attempt, nil before the first
	Previous *runtime.ContainerStatus // the attempt before
	Message  map[string]string        // termination messages by container ID
	Older    []string                 // IDs of attempts before Previous, to be removed
	Unborn   []string                 // IDs of attempts never started, in the way of the next one of their number

	Restarts int // restart count last reported in the API; the runtime may have lost its records
	Ran      bool
	// Replacing: it was stopped because its definition has changed, and the next one has not started yet.
	Replacing bool
	Reset     bool // removed to restart the pod in place; Restarts counts that already

	Image   ImageState
	Failure *Failure  // why the last attempt to start failed; cleared by the next
	RetryAt time.Time // after a Failure that left no container: not before
	Backoff Backoff   // after containers that ended

	// Probe results belong to the container of ID ProbedID; those of another are stale.
	ProbedID  string
	Startup   bool
	Ready     bool
	Unhealthy Ailment // why the container must be killed
	Announced string  // ID of the container that has been told that it is going to be stopped

	StopAt time.Time // after a stop that failed: not before

	// Granted is what the node lets the container have; Applied is what it has. Nil before its start.
	Granted, Applied *corev1.ResourceRequirements
	// AppliedPod is what the pod as a whole had when Applied was: its limits are those of containers without.
	AppliedPod *corev1.ResourceRequirements
	ResizeAt   time.Time // after a failed change: not before

	// Hook: the postStart hook of Current has not ended yet.
	Hook bool
}

// ImageState is the progress of a container's image towards its next start.
type ImageState struct {
	Ready   bool
	Failure *Failure
	Backoff Backoff
	Since   time.Time // of Failure
}

// An Ailment is why a container is killed while its pod lives on. Worded as in events.
type Ailment string

// Ailments.
const (
	FailedLiveness Ailment = "liveness probe"
	FailedStartup  Ailment = "startup probe"
	FailedHook     Ailment = "FailedPostStartHook"
)

// A Failure is a waiting reason with its message.
type Failure struct{ Reason, Message string }

// inSandbox reports whether the record's newest container is one of the current sandbox, not of one that a
// reboot or the like has ended.
func (o *Observed) inSandbox(r *Record) bool {
	if r.Current == nil {
		return false
	}
	_, attempt := SandboxOwner(r.Current.SandboxID)
	return attempt == o.Attempt
}

// Running reports whether the container's process lives.
func (r *Record) Running() bool {
	return r.Current != nil && r.Current.State == runtime.Running
}

// stillborn reports whether the newest container was created and never started. While its start is under
// way that is as it should be; otherwise the start was cut short, by the pod's end or the agent's.
func (r *Record) stillborn() bool {
	return r.Current != nil && r.Current.State == runtime.Created
}

// Exited reports whether the newest container has ended.
func (r *Record) Exited() bool { return r.Current != nil && r.Current.State == runtime.Exited }

// hasRun reports whether the container has ever been started, also before the runtime lost its record.
func (r *Record) hasRun() bool { return r.Current != nil || r.Ran }

// Started reports whether a running container has passed its start-up: hook and startup probe.
func (r *Record) Started(c *corev1.Container) bool {
	if r.Current == nil || r.Current.State != runtime.Running || r.Hook {
		return false
	}
	return c.StartupProbe == nil || (r.Startup && r.ProbedID == r.Current.ID)
}

// ready reports whether a container counts as ready to serve.
func (r *Record) ready(c *corev1.Container) bool {
	if !r.Started(c) {
		return false
	}
	return c.ReadinessProbe == nil || (r.Ready && r.ProbedID == r.Current.ID)
}

// nextAttempt returns the restart count of the next container.
func (r *Record) nextAttempt() int {
	if r.Current != nil {
		return r.Current.Attempt + 1
	}
	if r.Ran && !r.Reset {
		return r.Restarts + 1
	}
	if r.Reset {
		return r.Restarts
	}
	return 0
}

// restartCount returns what status reports.
func (r *Record) restartCount() int {
	if r.Current != nil {
		return max(r.Current.Attempt, r.Restarts)
	}
	return r.Restarts
}

// Drop forgets a container that has been removed.
func (r *Record) Drop(id string) {
	switch {
	case r.Current != nil && r.Current.ID == id:
		r.Current, r.Previous = r.Previous, nil
	case r.Previous != nil && r.Previous.ID == id:
		r.Previous = nil
	}
	r.Older = slices.DeleteFunc(r.Older, func(old string) bool { return old == id })
	r.Unborn = slices.DeleteFunc(r.Unborn, func(unborn string) bool { return unborn == id })
}

// BeginAgain forgets a container that has been removed to restart its pod in place. It is told so twice of one that was
// seen once more by who had looked before: that counts as one restart.
func (r *Record) BeginAgain() {
	restarts := r.Restarts
	if r.Current != nil {
		restarts = max(restarts, r.Current.Attempt+1)
	}
	*r = Record{Restarts: restarts, Ran: true, Reset: true, Granted: r.Granted}
}

// Observe takes a newer picture of a container into the record. Pictures of one ID come in order.
func (r *Record) Observe(s runtime.ContainerStatus) {
	switch {
	case r.Current == nil:
		r.Current = &s
	case r.Current.ID == s.ID:
		if r.Current.State > s.State {
			return // an answer that was overtaken
		}
		r.Current = &s
	case s.Attempt > r.Current.Attempt:
		if r.Previous != nil {
			r.Older = append(r.Older, r.Previous.ID)
			delete(r.Message, r.Previous.ID)
		}
		r.Previous, r.Current = r.Current, &s
	case r.Previous == nil || r.Previous.ID == s.ID:
		r.Previous = &s
	case s.Attempt > r.Previous.Attempt:
		r.Older = append(r.Older, r.Previous.ID)
		r.Previous = &s
	default:
		r.Older = append(r.Older, s.ID)
	}
}

// Record returns the record of a container, making it if need be.
func (o *Observed) Record(name string) *Record {
	r := o.Containers[name]
	if r == nil {
		r = &Record{}
		o.Containers[name] = r
	}
	return r
}

// AnyRunning reports whether any container's process lives.
func (o *Observed) AnyRunning() bool {
	for _, r := range o.Containers {
		if r.Running() {
			return true
		}
	}
	return false
}

// mayRun reports whether a container's process lives or is being started.
func (o *Observed) mayRun() bool {
	if o.AnyRunning() {
		return true
	}
	for name := range o.Containers {
		if o.Busy[Action{Op: Start, Container: name}.Key()] {
			return true
		}
	}
	return false
}
