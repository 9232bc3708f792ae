package pod

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/catalogue/table"
)

var columns = slices.Concat([]table.Column{
	table.Name,
	table.String("Ready", "The aggregate readiness state of this pod for accepting traffic."),
	table.String("Status", "The aggregate status of the containers in this pod."),
	table.String("Restarts", "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted."),
	table.Age,
}, table.Wide(
	table.String("IP", table.Doc(status{}, "podIP")),
	table.String("Node", table.Doc(spec{}, "nodeName")),
	table.String("Nominated Node", table.Doc(status{}, "nominatedNodeName")),
	table.String("Readiness Gates", table.Doc(spec{}, "readinessGates")),
))

func row(p *corev1.Pod, now time.Time) []any {
	s := summarize(p)
	restarts := fmt.Sprint(s.restarts)
	if s.restarts != 0 && !s.lastRestart.IsZero() {
		restarts = fmt.Sprintf("%d (%s ago)", s.restarts, table.Since(s.lastRestart, now))
	}
	var ip string
	if len(p.Status.PodIPs) > 0 {
		ip = p.Status.PodIPs[0].IP
	}
	return []any{
		p.Name, fmt.Sprintf("%d/%d", s.ready, s.total), s.reason, restarts, table.Since(p.CreationTimestamp, now),
		table.Or(ip, table.None), table.Or(p.Spec.NodeName, table.None), table.Or(p.Status.NominatedNodeName, table.None), gates(p),
	}
}

// rowConditions mark finished pods, which kubectl can leave out.
func rowConditions(p *corev1.Pod) []metav1.TableRowCondition {
	done := metav1.TableRowCondition{Type: metav1.RowCompleted, Status: metav1.ConditionTrue, Reason: string(p.Status.Phase)}
	switch p.Status.Phase {
	case corev1.PodSucceeded:
		done.Message = "The pod has completed successfully."
	case corev1.PodFailed:
		done.Message = "The pod failed."
	default:
		return nil
	}
	return []metav1.TableRowCondition{done}
}

func gates(p *corev1.Pod) string {
	if len(p.Spec.ReadinessGates) == 0 {
		return table.None
	}
	open := 0
	for _, g := range p.Spec.ReadinessGates {
		if isTrue(p, g.ConditionType) {
			open++
		}
	}
	return fmt.Sprintf("%d/%d", open, len(p.Spec.ReadinessGates))
}

// isTrue reads the first condition of a type.
func isTrue(p *corev1.Pod, t corev1.PodConditionType) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == t {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// A summary is what one line tells of a pod's containers.
type summary struct {
	ready, total int
	restarts     int32
	lastRestart  metav1.Time
	reason       string
}

func (s *summary) countRestarts(c *corev1.ContainerStatus) {
	s.restarts += c.RestartCount
	if t := c.LastTerminationState.Terminated; t != nil && s.lastRestart.Before(&t.FinishedAt) {
		s.lastRestart = t.FinishedAt
	}
}

// summarize tells the pod's state in the word that says most: a container's trouble before the phase, a
// deletion before either.
func summarize(p *corev1.Pod) summary {
	s := summary{total: len(p.Spec.Containers), reason: string(p.Status.Phase)}
	if p.Status.Reason != "" {
		s.reason = p.Status.Reason
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonSchedulingGated {
			s.reason = corev1.PodReasonSchedulingGated
		}
	}
	sidecars := sidecarNames(p)
	s.total += len(sidecars)
	initial, sidecarRestarts, initializing := s.initContainers(p, sidecars)
	if initializing && !isTrue(p, corev1.PodInitialized) {
		s.restarts, s.lastRestart = initial.restarts, initial.lastRestart
	} else {
		s.restarts, s.lastRestart = sidecarRestarts.restarts, sidecarRestarts.lastRestart
		s.containers(p)
	}
	switch {
	case p.DeletionTimestamp == nil:
	case p.Status.Reason == "NodeLost":
		s.reason = "Unknown"
	case p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed:
		s.reason = "Terminating"
	}
	return s
}

// sidecarNames are the init containers that keep running beside the others.
func sidecarNames(p *corev1.Pod) map[string]bool {
	names := map[string]bool{}
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			names[c.Name] = true
		}
	}
	return names
}

// initContainers looks for the first init container that is not through, counts ready sidecars before
// it, and returns the restarts of all looked at and of the sidecars among them.
func (s *summary) initContainers(p *corev1.Pod, sidecars map[string]bool) (all, sidecar summary, initializing bool) {
	for i := range p.Status.InitContainerStatuses {
		c := &p.Status.InitContainerStatuses[i]
		all.countRestarts(c)
		if sidecars[c.Name] {
			sidecar.countRestarts(c)
		}
		ended := c.State.Terminated
		switch {
		case ended != nil && ended.ExitCode == 0:
			continue
		case sidecars[c.Name] && c.Started != nil && *c.Started:
			if c.Ready {
				s.ready++
			}
			continue
		case ended != nil:
			s.reason = "Init:" + endReason(ended)
		case c.State.Waiting != nil && c.State.Waiting.Reason != "" && c.State.Waiting.Reason != "PodInitializing":
			s.reason = "Init:" + c.State.Waiting.Reason
		default:
			s.reason = fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
		}
		return all, sidecar, true
	}
	return all, sidecar, false
}

// containers reads the regular containers last to first, so that the first one's trouble is what is shown.
func (s *summary) containers(p *corev1.Pod) {
	running, failure := false, ""
	for i := len(p.Status.ContainerStatuses) - 1; i >= 0; i-- {
		c := &p.Status.ContainerStatuses[i]
		s.countRestarts(c)
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			s.reason = c.State.Waiting.Reason
		case c.State.Terminated != nil:
			s.reason = endReason(c.State.Terminated)
			if c.State.Terminated.ExitCode != 0 {
				failure = s.reason
			}
		case c.Ready && c.State.Running != nil:
			running = true
			s.ready++
		}
	}
	if s.reason != "Completed" {
		return
	}
	switch { // one container is done, the pod may not be
	case running && isTrue(p, corev1.PodReady):
		s.reason = "Running"
	case failure != "":
		s.reason = failure
	case running:
		s.reason = "NotReady"
	}
}

func endReason(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}
