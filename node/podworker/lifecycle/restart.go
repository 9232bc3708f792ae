package lifecycle

import (
	"slices"

	"clipper/api/containers"

	corev1 "k8s.io/api/core/v1"
)

// ShouldRestart applies the container's own restart rules and policy, else the pod's policy.
func ShouldRestart(pod *corev1.Pod, c *corev1.Container, exitCode int) bool {
	if matchingRule(c, exitCode) != nil {
		return true // there are no rules but for a restart, of this container or of all
	}
	switch restartPolicy(pod, c) {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return exitCode != 0
	}
	if !IsSidecar(c) && exitCode == 0 && IsInit(pod, c.Name) {
		return false // an init container that succeeded is done, whatever the policy
	}
	return true
}

// restartPolicy returns the container's own policy, else the pod's.
func restartPolicy(pod *corev1.Pod, c *corev1.Container) corev1.RestartPolicy {
	if c.RestartPolicy != nil {
		return corev1.RestartPolicy(*c.RestartPolicy)
	}
	return pod.Spec.RestartPolicy
}

// matchingRule returns the first of the container's restart rules that an exit code falls under, or nil.
func matchingRule(c *corev1.Container, exitCode int) *corev1.ContainerRestartRule {
	for i := range c.RestartPolicyRules {
		on := c.RestartPolicyRules[i].ExitCodes
		if on == nil {
			continue
		}
		in := slices.Contains(on.Values, int32(exitCode))
		if in == (on.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn) {
			return &c.RestartPolicyRules[i]
		}
	}
	return nil
}

// restartsAll reports whether the container has ended in a way that restarts the whole pod in place.
func (r *Record) restartsAll(c *corev1.Container) bool {
	if !r.Exited() {
		return false
	}
	rule := matchingRule(c, r.Current.ExitCode)
	return rule != nil && rule.Action == corev1.ContainerRestartRuleActionRestartAllContainers
}

// mayRestartAll reports whether any container has a rule that restarts the whole pod.
func mayRestartAll(pod *corev1.Pod) bool {
	for c := range containers.Of(&pod.Spec) {
		for i := range c.RestartPolicyRules {
			if c.RestartPolicyRules[i].Action == corev1.ContainerRestartRuleActionRestartAllContainers {
				return true
			}
		}
	}
	return false
}

// restartingAll reports whether the pod is being restarted in place. Who has caused it is removed last, so this
// stays so until everything else is gone, also over a restart of the agent.
func restartingAll(pod *corev1.Pod, o *Observed) bool {
	if !mayRestartAll(pod) {
		return false
	}
	for c := range containers.Of(&pod.Spec) {
		if r := o.Containers[c.Name]; r != nil && r.restartsAll(c) {
			return true
		}
	}
	return false
}

// reset kills and removes the containers of a pod that is restarted in place: what runs at once, without hooks
// or grace, then those that ended, then those that caused it. The pod begins again when none is left.
func (p *planner) reset() {
	var dead, causes []Action
	running := false
	for _, cs := range [][]corev1.Container{p.pod.Spec.Containers, p.pod.Spec.InitContainers} {
		for i := range cs {
			c, r := &cs[i], p.rec(cs[i].Name)
			if p.o.Busy[Action{Op: Start, Container: c.Name}.Key()] {
				running = true
				continue
			}
			if r.Previous != nil {
				dead = append(dead, Action{Op: Remove, Container: c.Name, ID: r.Previous.ID, KeepLog: true})
			}
			switch {
			case r.Current == nil:
			case r.Running():
				running = true
				p.stop(r, Action{Op: Stop, Container: c.Name, ID: r.Current.ID, Message: "killing"})
			case r.restartsAll(c):
				causes = append(causes, Action{Op: Remove, Container: c.Name, ID: r.Current.ID, KeepLog: true, Reset: true})
			default:
				dead = append(dead, Action{Op: Remove, Container: c.Name, ID: r.Current.ID, KeepLog: true, Reset: true})
			}
		}
	}
	for _, a := range dead {
		p.add(a)
	}
	if running || len(dead) > 0 {
		return
	}
	for _, a := range causes {
		p.add(a)
	}
}
