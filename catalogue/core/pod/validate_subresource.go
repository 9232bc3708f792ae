package pod

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
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
			f.Forbidden(at, fmt.Sprintf("existing ephemeral containers %q may not be changed\n%v", was.Name, diff.Diff(was, is)))
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
	if was := old.Status.QOSClass; was != "" && was != QOS(p) {
		f.Invalid(specPath, p.Status.QOSClass, "Pod QOS Class may not change as a result of resizing")
	}
	if !resizable(old) {
		f.Forbidden(specPath, "Pod running on node without support for resize")
	}
	if !sameOrder(f, p.Spec.Containers, old.Spec.Containers, "containers") || !sameOrder(f, p.Spec.InitContainers, old.Spec.InitContainers, "initContainers") {
		return f.List
	}
	rest := p.Spec.DeepCopy()
	resizeLists(f, rest.InitContainers, old.Spec.InitContainers, specPath.Child("initContainers"))
	resizeLists(f, rest.Containers, old.Spec.Containers, specPath.Child("containers"))
	if rest.Resources != nil && old.Spec.Resources != nil {
		withoutCompute(rest.Resources, old.Spec.Resources)
	}
	if len(f.List) == 0 && !equality.Semantic.DeepEqual(*rest, old.Spec) {
		f.Forbidden(specPath, "only cpu and memory resources are mutable")
	}
	return f.List
}

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
	for i := range is {
		if is[i].Name != was[i].Name {
			f.Forbidden(at.Index(i).Child("name"), name+" may not be renamed or reordered on resize")
			return false
		}
	}
	return true
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
		withoutCompute(&is[i].Resources, &was[i].Resources)
		is[i].ResizePolicy = was[i].ResizePolicy
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

func withoutCompute(is, was *corev1.ResourceRequirements) {
	reset := func(list *corev1.ResourceList, old corev1.ResourceList) {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			if q, ok := old[name]; ok {
				(*list)[name] = q
			} else {
				delete(*list, name)
			}
		}
		if len(*list) == 0 && len(old) == 0 {
			*list = old
		}
	}
	if is.Requests == nil {
		is.Requests = corev1.ResourceList{}
	}
	if is.Limits == nil {
		is.Limits = corev1.ResourceList{}
	}
	reset(&is.Requests, was.Requests)
	reset(&is.Limits, was.Limits)
}
