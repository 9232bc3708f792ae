package job

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// A verdict is what the pod failure policy says of a failed pod.
type verdict struct {
	action  batchv1.PodFailurePolicyAction // Count where no rule applies
	message string                         // for the job's condition
}

// judge applies the first rule that matches p.
func judge(j *batchv1.Job, p *corev1.Pod) verdict {
	if j.Spec.PodFailurePolicy == nil {
		return verdict{action: batchv1.PodFailurePolicyActionCount}
	}
	for i, rule := range j.Spec.PodFailurePolicy.Rules {
		if why, ok := matches(rule, p); ok {
			return verdict{rule.Action, fmt.Sprintf("%s matching %v rule at index %d", why, rule.Action, i)}
		}
	}
	return verdict{action: batchv1.PodFailurePolicyActionCount}
}

func matches(rule batchv1.PodFailurePolicyRule, p *corev1.Pod) (why string, ok bool) {
	if rule.OnExitCodes != nil {
		for _, s := range append(slices.Clone(p.Status.InitContainerStatuses), p.Status.ContainerStatuses...) {
			t := s.State.Terminated
			if t == nil || t.ExitCode == 0 || rule.OnExitCodes.ContainerName != nil && *rule.OnExitCodes.ContainerName != s.Name {
				continue
			}
			in := slices.Contains(rule.OnExitCodes.Values, t.ExitCode)
			if in == (rule.OnExitCodes.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn) {
				return fmt.Sprintf("Container %s for pod %s/%s failed with exit code %v", s.Name, p.Namespace, p.Name, t.ExitCode), true
			}
		}
		return "", false
	}
	for _, want := range rule.OnPodConditions {
		for _, c := range p.Status.Conditions {
			if c.Type == want.Type && c.Status == want.Status {
				return fmt.Sprintf("Pod %s/%s has condition %v", p.Namespace, p.Name, c.Type), true
			}
		}
	}
	return "", false
}

// succeeds returns the message of the success policy's first rule that the completed indexes fulfil.
func succeeds(j *batchv1.Job, done indexSet) (string, bool) {
	if j.Spec.SuccessPolicy == nil || !indexed(j) {
		return "", false
	}
	for i, rule := range j.Spec.SuccessPolicy.Rules {
		counted := done
		if rule.SucceededIndexes != nil {
			among := parseIndexes(*rule.SucceededIndexes, int(*j.Spec.Completions))
			counted = nil
			for _, n := range among {
				if done.has(n) {
					counted = append(counted, n)
				}
			}
			if rule.SucceededCount == nil && len(counted) == len(among) {
				return fmt.Sprintf("Matched rules at index %d", i), true
			}
		}
		if rule.SucceededCount != nil && len(counted) >= int(*rule.SucceededCount) {
			return fmt.Sprintf("Matched rules at index %d", i), true
		}
	}
	return "", false
}
