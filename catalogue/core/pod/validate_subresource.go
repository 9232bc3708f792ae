package pod

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
)

func isStatic(p *corev1.Pod) bool {
	_, ok := p.Annotations[corev1.MirrorPodAnnotationKey]
	return ok
}

// validateEphemeral: ephemeral containers are only ever added.
func validateEphemeral(p, old *corev1.Pod) field.ErrorList {
	if isStatic(old) {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods do not support ephemeral containers")}
	}
	f := &rule.Faults{}
	validate(f, p, podspec.OptionsFor(&old.Spec))
	at := specPath.Child("ephemeralContainers")
	for _, was := range old.Spec.EphemeralContainers {
		i := slices.IndexFunc(p.Spec.EphemeralContainers, func(e corev1.EphemeralContainer) bool { return e.Name == was.Name })
		if i < 0 {
			f.Forbidden(at, fmt.Sprintf("existing ephemeral containers %q may not be removed\n", was.Name))
		} else if is := p.Spec.EphemeralContainers[i]; !equality.Semantic.DeepEqual(was, is) {
			f.Forbidden(at, fmt.Sprintf("existing ephemeral containers %q may not be changed\n%v", was.Name, rule.Diff(was, is)))
		}
	}
	return f.List
}

// validateResize: cpu and memory of containers may change, within the pod's class.
func validateResize(p, old *corev1.Pod) field.ErrorList {
	switch {
	case isStatic(old):
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods cannot be resized")}
	case old.Spec.OS != nil && old.Spec.OS.Name == corev1.Windows:
		return field.ErrorList{field.Forbidden(field.NewPath(""), "windows pods cannot be resized")}
	}
	f := &rule.Faults{}
	validate(f, p, podspec.OptionsFor(&old.Spec))
	was := old.Status.QOSClass
	if was == "" {
		was = QOS(old)
	}
	if was != QOS(p) {
		f.Invalid(specPath, p.Status.QOSClass, "Pod QOS Class may not change as a result of resizing")
	}
	if !resizable(old) {
		f.Forbidden(specPath, "Pod running on node without support for resize")
	}
	rest := p.Spec.DeepCopy()
	if bounded(&old.Spec) || bounded(&p.Spec) {
		resizeWhole(f, rest, &old.Spec)
	}
	if len(old.Status.NodeAllocatableResourceClaimStatuses) > 0 {
		f.Forbidden(specPath, "pods with node allocatable resource claims cannot be resized")
	}
	same := sameOrder(f, p.Spec.Containers, old.Spec.Containers, "containers")
	if !sameOrder(f, p.Spec.InitContainers, old.Spec.InitContainers, "initContainers") || !same {
		return f.List
	}
	resizeLists(f, rest.InitContainers, old.Spec.InitContainers, specPath.Child("initContainers"))
	resizeLists(f, rest.Containers, old.Spec.Containers, specPath.Child("containers"))
	for i := range rest.Containers {
		if !equality.Semantic.DeepEqual(rest.Containers[i], old.Spec.Containers[i]) {
			f.Forbidden(specPath, onlyCompute)
		}
	}
	for i := range rest.InitContainers {
		if !equality.Semantic.DeepEqual(rest.InitContainers[i], old.Spec.InitContainers[i]) {
			f.Forbidden(specPath.Child("initContainers").Index(i), "only cpu and memory resources for init or sidecar containers are mutable")
		}
		restartToResize(f, &p.Spec.InitContainers[i], &old.Spec.InitContainers[i], specPath.Child("initContainers").Index(i))
	}
	if len(f.List) == 0 && !equality.Semantic.DeepEqual(*rest, old.Spec) {
		f.Forbidden(specPath, onlyCompute)
	}
	return f.List
}

// restartToResize refuses to resize an init container that would have to start again for it, unless it is a sidecar.
func restartToResize(f *rule.Faults, c, old *corev1.Container, at *field.Path) {
	sidecar := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
	if sidecar || equality.Semantic.DeepEqual(c, old) {
		return
	}
	for _, p := range c.ResizePolicy {
		if p.RestartPolicy == corev1.RestartContainer {
			f.Forbidden(at, "non-sidecar init containers with a resize policy of RestartContainer cannot be resized")
		}
	}
}

// bounded says that a pod has requests or limits as a whole.
func bounded(s *corev1.PodSpec) bool {
	return s.Resources != nil && len(s.Resources.Requests)+len(s.Resources.Limits) > 0
}

// resizeWhole does for the resources of the pod as a whole what resizeLists does for its containers.
func resizeWhole(f *rule.Faults, is, was *corev1.PodSpec) {
	at := specPath.Child("resources")
	switch {
	case is.Resources == nil && was.Resources != nil:
		f.Forbidden(at, "pod-level resources cannot be removed")
		return
	case is.Resources == nil:
		return
	case was.Resources == nil:
		was = &corev1.PodSpec{Resources: &corev1.ResourceRequirements{}}
		defer func() {
			if r := is.Resources; len(r.Requests)+len(r.Limits)+len(r.Claims) == 0 {
				is.Resources = nil
			}
		}()
	}
	if removed(is.Resources.Requests, was.Resources.Requests) {
		f.Forbidden(at.Child("requests"), "pod-level resource requests cannot be removed")
	}
	if removed(is.Resources.Limits, was.Resources.Limits) {
		f.Forbidden(at.Child("limits"), "pod-level resource limits cannot be removed")
	}
	is.Resources.Requests = withoutCompute(is.Resources.Requests, was.Resources.Requests)
	is.Resources.Limits = withoutCompute(is.Resources.Limits, was.Resources.Limits)
	if !equality.Semantic.DeepEqual(is.Resources, was.Resources) {
		f.Forbidden(specPath, onlyCompute+" at pod-level")
	}
}

const onlyCompute = "only cpu and memory resources are mutable"

// resizable says that the node reports what its containers really got.
func resizable(p *corev1.Pod) bool {
	for _, s := range p.Status.ContainerStatuses {
		if s.State.Running != nil {
			return s.Resources != nil
		}
	}
	return true
}

func sameOrder(f *rule.Faults, is, was []corev1.Container, name string) bool {
	at := specPath.Child(name)
	if len(is) != len(was) {
		f.Forbidden(at, name+" may not be added or removed on resize")
		return false
	}
	same := true
	for i := range is {
		if is[i].Name != was[i].Name {
			f.Forbidden(at.Index(i).Child("name"), name+" may not be renamed or reordered on resize")
			same = false
		}
	}
	return same
}

// resizeLists refuses to take a request or limit away, and sets back what may change.
func resizeLists(f *rule.Faults, is, was []corev1.Container, at *field.Path) {
	for i := range is {
		path := at.Index(i).Child("resources")
		if removed(is[i].Resources.Requests, was[i].Resources.Requests) {
			f.Forbidden(path.Child("requests"), "resource requests cannot be removed")
		}
		if removed(is[i].Resources.Limits, was[i].Resources.Limits) {
			f.Forbidden(path.Child("limits"), "resource limits cannot be removed")
		}
		// Without its claims a container that has some counts as changed, as upstream has it.
		is[i].Resources = corev1.ResourceRequirements{
			Requests: withoutCompute(is[i].Resources.Requests, was[i].Resources.Requests),
			Limits:   withoutCompute(is[i].Resources.Limits, was[i].Resources.Limits),
		}
	}
}

func removed(is, was corev1.ResourceList) bool {
	for name := range was {
		if _, ok := is[name]; !ok {
			return true
		}
	}
	return false
}

// withoutCompute is a list with cpu and memory as they were.
func withoutCompute(is, was corev1.ResourceList) corev1.ResourceList {
	if is == nil && was == nil {
		return nil
	}
	out := corev1.ResourceList{}
	maps.Copy(out, is)
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		delete(out, name)
		if q, ok := was[name]; ok {
			out[name] = q
		}
	}
	return out
}
