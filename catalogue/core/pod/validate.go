package pod

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
)

var (
	specPath        = field.NewPath("spec")
	annotationsPath = field.NewPath("metadata", "annotations")
)

// validate checks what must hold at any time.
func validate(f *rule.Faults, p *corev1.Pod, o podspec.Options) {
	o.Pod = true
	f.Add(podspec.ValidateAnnotations(p.Annotations, &p.Spec, annotationsPath)...)
	f.Add(podspec.Validate(&p.Spec, &p.ObjectMeta, specPath, o)...)
}

func validateCreate(p *corev1.Pod) field.ErrorList {
	f := &rule.Faults{}
	validate(f, p, podspec.Options{})
	if len(p.Spec.EphemeralContainers) > 0 {
		f.Forbidden(specPath.Child("ephemeralContainers"), "cannot be set on create")
	}
	if p.Spec.NodeName != "" && len(p.Spec.SchedulingGates) != 0 {
		f.Forbidden(specPath.Child("nodeName"), "cannot be set until all schedulingGates have been cleared")
	}
	return f.List
}

// mutable is what upstream's message lists.
const mutable = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`," +
	"`spec.tolerations` (only additions to existing tolerations)," +
	"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"

func validateUpdate(p, old *corev1.Pod) field.ErrorList {
	f := &rule.Faults{}
	validate(f, p, podspec.OptionsFor(&old.Spec))
	annotationUpdates(f, p, old)
	if !sameContainers(f, p.Spec.Containers, old.Spec.Containers, specPath.Child("containers")) ||
		!sameContainers(f, p.Spec.InitContainers, old.Spec.InitContainers, specPath.Child("initContainers")) ||
		!deadlineUpdate(f, p.Spec.ActiveDeadlineSeconds, old.Spec.ActiveDeadlineSeconds) {
		return f.List
	}
	tolerationUpdate(f, p.Spec.Tolerations, old.Spec.Tolerations)
	gateUpdate(f, p.Spec.SchedulingGates, old.Spec.SchedulingGates)
	if equality.Semantic.DeepEqual(p.Spec, old.Spec) {
		return f.List
	}
	rest := withMutable(f, p, old)
	if !equality.Semantic.DeepEqual(*rest, old.Spec) {
		f.Forbidden(specPath, fmt.Sprintf("pod updates may not change fields other than %s\n%v", mutable, rule.Diff(old.Spec, *rest)))
	}
	return f.List
}

// withMutable is the new spec with everything as it was that an update may change.
func withMutable(f *rule.Faults, p, old *corev1.Pod) *corev1.PodSpec {
	rest, was := p.Spec.DeepCopy(), &old.Spec
	for i := range rest.Containers {
		rest.Containers[i].Image = was.Containers[i].Image
	}
	for i := range rest.InitContainers {
		rest.InitContainers[i].Image = was.InitContainers[i].Image
	}
	rest.ActiveDeadlineSeconds = was.ActiveDeadlineSeconds
	rest.SchedulingGates = was.SchedulingGates
	rest.Tolerations = was.Tolerations
	if g := was.TerminationGracePeriodSeconds; g != nil && *g < 0 && rest.TerminationGracePeriodSeconds != nil && *rest.TerminationGracePeriodSeconds == 1 {
		rest.TerminationGracePeriodSeconds = g
	}
	if len(was.SchedulingGates) > 0 {
		gatedUpdate(f, rest, was)
	}
	return rest
}

// gatedUpdate: as long as a pod is gated, its node selector and affinity may become narrower.
func gatedUpdate(f *rule.Faults, rest, was *corev1.PodSpec) {
	for key, value := range was.NodeSelector {
		if rest.NodeSelector[key] != value {
			f.Invalid(specPath.Child("nodeSelector"), rest.NodeSelector, "only additions to spec.nodeSelector are allowed (no mutations or deletions)")
			break
		}
	}
	rest.NodeSelector = was.NodeSelector
	is, before := nodeAffinity(rest), nodeAffinity(was)
	if equality.Semantic.DeepEqual(is, before) {
		return
	}
	affinityUpdate(f, is, before)
	switch {
	case rest.Affinity == nil:
		rest.Affinity = &corev1.Affinity{NodeAffinity: before}
	case was.Affinity == nil && rest.Affinity.PodAffinity == nil && rest.Affinity.PodAntiAffinity == nil:
		rest.Affinity = nil
	default:
		rest.Affinity.NodeAffinity = before
	}
}

func nodeAffinity(s *corev1.PodSpec) *corev1.NodeAffinity {
	if s.Affinity == nil {
		return nil
	}
	return s.Affinity.NodeAffinity
}

func affinityUpdate(f *rule.Faults, is, was *corev1.NodeAffinity) {
	if was == nil || was.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return
	}
	at := specPath.Child("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
	var terms []corev1.NodeSelectorTerm
	if is != nil && is.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		terms = is.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	}
	old := was.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	if len(old) > 0 && len(old) != len(terms) {
		f.Invalid(at, terms, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")
		return
	}
	for i := range old {
		if !narrowed(terms[i].MatchExpressions, old[i].MatchExpressions) || !narrowed(terms[i].MatchFields, old[i].MatchFields) || empty(old[i]) && !empty(terms[i]) {
			f.Invalid(at.Index(i), terms[i], "only additions are allowed (no mutations or deletions)")
		}
	}
}

// An empty term matches nothing: an addition would widen it.
func empty(t corev1.NodeSelectorTerm) bool { return len(t.MatchExpressions)+len(t.MatchFields) == 0 }

func narrowed(is, was []corev1.NodeSelectorRequirement) bool {
	return len(is) >= len(was) && equality.Semantic.DeepEqual(is[:len(was)], was)
}

func sameContainers(f *rule.Faults, is, was []corev1.Container, at *field.Path) bool {
	if len(is) != len(was) {
		f.Forbidden(at, "pod updates may not add or remove containers")
		return false
	}
	return true
}

func deadlineUpdate(f *rule.Faults, is, was *int64) bool {
	at := specPath.Child("activeDeadlineSeconds")
	switch {
	case is == nil && was != nil:
		f.Invalid(at, is, "must not update from a positive integer to nil value")
	case is == nil:
	case *is < 0 || *is > math.MaxInt32:
		f.Invalid(at, *is, utilvalidation.InclusiveRangeError(0, math.MaxInt32))
		return false
	case was != nil && *was < *is:
		f.Invalid(at, *is, "must be less than or equal to previous value")
		return false
	}
	return true
}

func tolerationUpdate(f *rule.Faults, is, was []corev1.Toleration) {
	for _, old := range was {
		if !slices.ContainsFunc(is, func(t corev1.Toleration) bool {
			old.TolerationSeconds = t.TolerationSeconds // which may change
			return reflect.DeepEqual(old, t)
		}) {
			f.Forbidden(specPath.Child("tolerations"), "existing toleration can not be modified except its tolerationSeconds")
			return
		}
	}
}

func gateUpdate(f *rule.Faults, is, was []corev1.PodSchedulingGate) {
	for i, gate := range is {
		if !slices.Contains(was, gate) && !slices.Contains(is[i+1:], gate) { // of equal ones the last is named
			f.Forbidden(specPath.Child("schedulingGates").Index(i).Child("name"), fmt.Sprintf("only deletion is allowed, but found new scheduling gate '%s'", gate.Name))
		}
	}
}

// annotationUpdates refuses changes of annotations that say what a pod is.
func annotationUpdates(f *rule.Faults, p, old *corev1.Pod) {
	appArmor := func(key string) bool {
		return strings.HasPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix)
	}
	for key, was := range old.Annotations {
		if is, ok := p.Annotations[key]; ok && is == was {
			continue
		}
		if appArmor(key) {
			f.Forbidden(annotationsPath.Key(key), "may not remove or update AppArmor annotations")
		}
		if key == corev1.MirrorPodAnnotationKey {
			f.Forbidden(annotationsPath.Key(key), "may not remove or update mirror pod annotation")
		}
	}
	for key := range p.Annotations {
		if _, ok := old.Annotations[key]; ok {
			continue
		}
		if appArmor(key) {
			f.Forbidden(annotationsPath.Key(key), "may not add AppArmor annotations")
		}
		if key == corev1.MirrorPodAnnotationKey {
			f.Forbidden(annotationsPath.Key(key), "may not add mirror pod annotation")
		}
	}
}
