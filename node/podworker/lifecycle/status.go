package lifecycle

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api/containers"
	"clipper/image/reference"
	"clipper/node/pull"
	"clipper/node/runtime"
)

// FullID is a container's ID as the API has it, with the runtime's name in front.
func (o *Observed) FullID(id string) string { return cmp.Or(o.Runtime, "clipper") + "://" + id }

// Status derives what to report from what is observed. It starts from the status in the API, keeps what
// others own (conditions of readiness gates and schedulers) and changes neither argument.
func Status(pod *corev1.Pod, o *Observed, hostIPs []netip.Addr, now time.Time) corev1.PodStatus {
	s := corev1.PodStatus{
		ObservedGeneration:          pod.Generation,
		QOSClass:                    pod.Status.QOSClass,
		NominatedNodeName:           pod.Status.NominatedNodeName,
		Resize:                      pod.Status.Resize,
		ResourceClaimStatuses:       pod.Status.ResourceClaimStatuses,
		ExtendedResourceClaimStatus: pod.Status.ExtendedResourceClaimStatus,
	}
	if !o.StartTime.IsZero() {
		t := metav1.NewTime(o.StartTime).Rfc3339Copy()
		s.StartTime = &t
	}
	if v := o.Verdict; v != nil && v.Rejected {
		s.Phase, s.Reason, s.Message, s.Conditions = v.Phase, v.Reason, v.Message, pod.Status.Conditions
		return s
	}
	r := reporter{pod: pod, o: o, now: now, initialized: hasInitialized(pod, o)}
	s.InitContainerStatuses = r.statuses(pod.Spec.InitContainers, true)
	s.ContainerStatuses = r.statuses(pod.Spec.Containers, false)
	slices.SortStableFunc(s.ContainerStatuses, func(a, b corev1.ContainerStatus) int { return cmp.Compare(a.Name, b.Name) })
	s.EphemeralContainerStatuses = r.ephemeral()
	s.Phase, s.Reason, s.Message = r.phase(s.InitContainerStatuses, s.ContainerStatuses)
	s.Resources, s.AllocatedResources = r.resources()
	setAddresses(&s, pod, o, hostIPs)
	s.Conditions = r.conditions(&s)
	return s
}

func setAddresses(s *corev1.PodStatus, pod *corev1.Pod, o *Observed, hostIPs []netip.Addr) {
	for i, ip := range hostIPs {
		if i == 0 {
			s.HostIP = ip.String()
		}
		s.HostIPs = append(s.HostIPs, corev1.HostIP{IP: ip.String()})
	}
	ips := o.IPs
	if pod.Spec.HostNetwork && o.Sandbox.Done {
		ips = hostIPs
	}
	for i, ip := range ips {
		if i == 0 {
			s.PodIP = ip.String()
		}
		s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: ip.String()})
	}
	if len(ips) == 0 { // an address once reported stays: endpoints and users may still look at it
		s.PodIP, s.PodIPs = pod.Status.PodIP, pod.Status.PodIPs
	}
}

type reporter struct {
	pod         *corev1.Pod
	o           *Observed
	now         time.Time
	initialized bool
}

func (r *reporter) statuses(cs []corev1.Container, init bool) []corev1.ContainerStatus {
	if len(cs) == 0 {
		return nil
	}
	out := make([]corev1.ContainerStatus, 0, len(cs))
	for i := range cs {
		out = append(out, r.container(&cs[i], init))
	}
	return out
}

func (r *reporter) ephemeral() []corev1.ContainerStatus {
	var out []corev1.ContainerStatus
	for i := range r.pod.Spec.EphemeralContainers {
		c := (*corev1.Container)(&r.pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		st := r.container(c, false)
		st.Ready, st.Started = false, nil
		out = append(out, st)
	}
	return out
}

func (r *reporter) container(c *corev1.Container, init bool) corev1.ContainerStatus {
	rec := r.o.Containers[c.Name]
	if rec == nil {
		rec = &Record{}
	}
	no := false
	st := corev1.ContainerStatus{
		Name: c.Name, Image: c.Image, RestartCount: int32(rec.restartCount()), Started: &no,
	}
	if rec.Replacing && rec.Exited() && rec.Image.Failure == nil && !Ending(r.pod, r.o) {
		// The moment between two containers is nobody's business: upstream does not show it either.
		if was := r.reported(c.Name); was != nil && was.State.Running != nil {
			return *was
		}
	}
	if rec.Current == nil {
		if was := r.reported(c.Name); was != nil && was.ContainerID != "" && Ending(r.pod, r.o) {
			// The runtime's record is gone (a reboot, a cleaned disk); what was reported is all there is.
			old := *was
			old.Ready, old.Started = init && old.Ready, &no
			return old
		}
	}
	if cur := rec.Current; cur != nil {
		st.ContainerID = r.o.FullID(cur.ID)
		st.Image, st.ImageID = imageNames(c, cur)
	}
	st.State, st.LastTerminationState = r.states(c, rec, init)
	started, ready := rec.Started(c), rec.ready(c)
	st.Started, st.Ready = &started, ready
	if init && !IsSidecar(c) {
		st.Ready = rec.Exited() && rec.Current.ExitCode == 0
	}
	if r.o.TornDown || (r.o.Verdict != nil && !rec.Running()) {
		st.Ready = st.Ready && init && !IsSidecar(c)
	}
	describe(&st, c, rec)
	st.AllocatedResourcesStatus = r.o.Health[c.Name]
	return st
}

// imageNames returns what a container runs in full: docker.io/library/busybox:1.36 where busybox:1.36 was
// asked for, and the digest under that repository, whatever other names the image has.
func imageNames(c *corev1.Container, s *runtime.ContainerStatus) (image, id string) {
	image, id = c.Image, s.ImageID
	if s.Image != "" {
		image = s.Image
	}
	ref, err := reference.Parse(image)
	if err != nil {
		return image, id
	}
	if _, digest, ok := strings.Cut(id, "@"); ok {
		id = ref.Digested(digest)
	}
	return ref.String(), id
}

// reported returns what the API has of a container.
func (r *reporter) reported(name string) *corev1.ContainerStatus {
	for s := range containers.Statuses(&r.pod.Status) {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// states returns the current and the last state of a container.
func (r *reporter) states(c *corev1.Container, rec *Record, init bool) (now, last corev1.ContainerState) {
	if rec.Previous != nil {
		last.Terminated = r.terminated(rec, rec.Previous)
	} else if rec.Reset {
		last.Terminated = &corev1.ContainerStateTerminated{Reason: restartingAllReason, Message: restartingAllMessage, ExitCode: unknownExit}
	} else if was := r.reported(c.Name); was != nil && rec.hasRun() {
		last = r.lastReported(was, rec)
	}
	cur := rec.Current
	switch {
	case cur == nil:
		now.Waiting = r.waiting(c, rec, init)
	case cur.State == runtime.Running && !rec.Hook:
		now.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(cur.StartedAt).Rfc3339Copy()}
	case cur.State != runtime.Exited: // created, or its postStart hook has not ended
		now.Waiting = r.waiting(c, &Record{Image: rec.Image}, init)
	default:
		ended := r.terminated(rec, cur)
		if w := r.restarting(c, rec); w != nil {
			now.Waiting, last.Terminated = w, ended
		} else {
			now.Terminated = ended
		}
	}
	return now, last
}

// lastReported recovers the last state of a container whose earlier attempts the runtime has forgotten.
func (r *reporter) lastReported(was *corev1.ContainerStatus, rec *Record) corev1.ContainerState {
	if rec.Current == nil || was.ContainerID == r.o.FullID(rec.Current.ID) {
		if was.State.Terminated != nil && rec.Current == nil {
			return corev1.ContainerState{Terminated: was.State.Terminated}
		}
		return was.LastTerminationState
	}
	if was.State.Terminated != nil {
		return corev1.ContainerState{Terminated: was.State.Terminated}
	}
	return was.LastTerminationState
}

// What is said of containers that were removed to restart their pod in place.
const (
	restartingAllReason  = "RestartingAllContainers"
	restartingAllMessage = "The container is removed because RestartAllContainers in place"
	unknownExit          = 137
)

// waiting explains why a container that has no process has none yet.
func (r *reporter) waiting(c *corev1.Container, rec *Record, init bool) *corev1.ContainerStateWaiting {
	if rec.Failure != nil {
		return &corev1.ContainerStateWaiting{Reason: rec.Failure.Reason, Message: rec.Failure.Message}
	}
	if f := rec.Image.Failure; f != nil {
		return r.pullFailure(c, rec.Image)
	}
	if rec.Reset && rec.Current == nil {
		return &corev1.ContainerStateWaiting{Reason: restartingAllReason, Message: restartingAllMessage}
	}
	if len(r.pod.Spec.InitContainers) > 0 {
		return &corev1.ContainerStateWaiting{Reason: "PodInitializing"}
	}
	return &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
}

// pullFailure reports a failed pull as such at first, and as backing off from then on.
func (r *reporter) pullFailure(c *corev1.Container, s ImageState) *corev1.ContainerStateWaiting {
	f := *s.Failure
	if pull.BacksOff(f.Reason) && !r.now.Before(s.Since.Add(ShowBackoff)) {
		return &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff",
			Message: fmt.Sprintf("Back-off pulling image %q: %s: %s", c.Image, f.Reason, f.Message)}
	}
	return &corev1.ContainerStateWaiting{Reason: f.Reason, Message: f.Message}
}

// restarting explains why a container that has ended waits to be started again, or returns nil if it is
// not going to be.
func (r *reporter) restarting(c *corev1.Container, rec *Record) *corev1.ContainerStateWaiting {
	if Ending(r.pod, r.o) || !ShouldRestart(r.pod, c, rec.Current.ExitCode) || (r.initialized && IsInit(r.pod, c.Name) && !IsSidecar(c)) {
		return nil
	}
	if r.o.Busy[Action{Op: Start, Container: c.Name}.Key()] {
		// What was reported stands until the new container has started or failed to.
		if was := r.reported(c.Name); was != nil && was.ContainerID == r.o.FullID(rec.Current.ID) {
			return was.State.Waiting
		}
		return nil
	}
	at := rec.Backoff.Until(rec.Current.FinishedAt)
	switch {
	case r.now.Before(at):
		return &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: fmt.Sprintf(
			"back-off %s restarting failed container=%s pod=%s", rec.Backoff.Delay, c.Name, FullName(r.pod))}
	case rec.Failure != nil:
		return &corev1.ContainerStateWaiting{Reason: rec.Failure.Reason, Message: rec.Failure.Message}
	case rec.Image.Failure != nil:
		return r.pullFailure(c, rec.Image)
	}
	return nil
}

// FullName is how messages name a pod without ambiguity.
func FullName(pod *corev1.Pod) string {
	return fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID)
}

func (r *reporter) terminated(rec *Record, s *runtime.ContainerStatus) *corev1.ContainerStateTerminated {
	t := &corev1.ContainerStateTerminated{
		ExitCode: int32(s.ExitCode), Reason: s.Reason, Message: s.Message,
		FinishedAt: metav1.NewTime(s.FinishedAt).Rfc3339Copy(), ContainerID: r.o.FullID(s.ID),
	}
	t.StartedAt = metav1.NewTime(time.Unix(0, 0)) // as upstream for one that never started
	if !s.StartedAt.IsZero() {
		t.StartedAt = metav1.NewTime(s.StartedAt).Rfc3339Copy()
	}
	switch {
	case s.OOMKilled:
		t.Reason = "OOMKilled"
	case t.Reason != "":
	case s.ExitCode == 0:
		t.Reason = "Completed"
	default:
		t.Reason = "Error"
	}
	if m := rec.Message[s.ID]; m != "" {
		t.Message = m
	}
	return t
}

// describe adds resources, user and mounts.
func describe(st *corev1.ContainerStatus, c *corev1.Container, rec *Record) {
	has, granted := &c.Resources, &c.Resources
	if rec.Applied != nil && rec.Running() {
		has = rec.Applied
	}
	if rec.Granted != nil {
		granted = rec.Granted
	}
	st.Resources = &corev1.ResourceRequirements{Requests: has.Requests, Limits: has.Limits}
	if len(granted.Requests) > 0 {
		st.AllocatedResources = granted.Requests
	}
	if u := userOf(rec.Current); u != nil {
		st.User = &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{
			UID: u.UID, GID: u.GID, SupplementalGroups: u.SupplementalGroups}}
	}
	for _, m := range c.VolumeMounts {
		vm := corev1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			mode := corev1.RecursiveReadOnlyDisabled
			if m.RecursiveReadOnly != nil && *m.RecursiveReadOnly != corev1.RecursiveReadOnlyDisabled {
				mode = corev1.RecursiveReadOnlyEnabled
			}
			vm.RecursiveReadOnly = &mode
		}
		st.VolumeMounts = append(st.VolumeMounts, vm)
	}
}

func userOf(s *runtime.ContainerStatus) *runtime.ContainerUser {
	if s == nil {
		return nil
	}
	return s.User
}
