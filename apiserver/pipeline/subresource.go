package pipeline

import (
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
)

// subresourceRules are the subresources that take their parent's kind and change one part of it.
var subresourceRules = map[schema.GroupResource]rules{
	{Resource: "namespaces/finalize"}:      {prepare: prepareFinalize},
	{Resource: "pods/ephemeralcontainers"}: {prepare: prepareEphemeral, validate: validateEphemeral},
	{Resource: "pods/resize"}:              {prepare: prepareResize, validate: validateResize},
	{Group: "certificates.k8s.io", Resource: "certificatesigningrequests/approval"}: {prepare: prepareApproval},
}

// Updates says whether a subresource is one of those that PUT and PATCH change a part of the parent by.
func Updates(gr schema.GroupResource) bool {
	_, ok := subresourceRules[gr]
	return ok
}

// prepareFinalize lets only the finalizers of the namespace's spec through.
func prepareFinalize(obj, old api.Object) {
	next, was := obj.(*corev1.Namespace), old.(*corev1.Namespace)
	next.Status = *was.Status.DeepCopy()
}

// prepareEphemeral lets only the ephemeral containers through.
func prepareEphemeral(obj, old api.Object) {
	next, was := obj.(*corev1.Pod), old.(*corev1.Pod).DeepCopy()
	was.Spec.EphemeralContainers = next.Spec.EphemeralContainers
	was.ManagedFields, was.ResourceVersion = next.ManagedFields, next.ResourceVersion
	*next = *was
}

// validateEphemeral refuses to change or remove an ephemeral container that exists.
func validateEphemeral(obj, old api.Object) field.ErrorList {
	var faults field.ErrorList
	next, was := obj.(*corev1.Pod).Spec, old.(*corev1.Pod).Spec
	path := field.NewPath("spec", "ephemeralContainers")
	for i := range was.EphemeralContainers {
		have := &was.EphemeralContainers[i]
		at := slices.IndexFunc(next.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == have.Name })
		switch {
		case at < 0:
			faults = append(faults, field.Forbidden(path, "existing ephemeral containers \""+have.Name+"\" may not be removed\n"))
		case !sameContainer(have, &next.EphemeralContainers[at]):
			faults = append(faults, field.Forbidden(path, "existing ephemeral containers \""+have.Name+"\" may not be changed\n"))
		}
	}
	return append(faults, newEphemeral(&next, len(was.EphemeralContainers), path)...)
}

func sameContainer(a, b *corev1.EphemeralContainer) bool {
	x, err1 := a.Marshal()
	y, err2 := b.Marshal()
	return err1 == nil && err2 == nil && string(x) == string(y)
}

// newEphemeral checks the containers that were added: a name of their own, and a target that exists.
func newEphemeral(spec *corev1.PodSpec, from int, path *field.Path) field.ErrorList {
	var faults field.ErrorList
	names := map[string]bool{}
	for _, c := range append(slices.Clone(spec.InitContainers), spec.Containers...) {
		names[c.Name] = true
	}
	targets := len(names)
	for i, c := range spec.EphemeralContainers {
		at := path.Index(i)
		switch {
		case c.Name == "":
			faults = append(faults, field.Required(at.Child("name"), ""))
		case names[c.Name]:
			faults = append(faults, field.Duplicate(at.Child("name"), c.Name))
		}
		if c.Image == "" {
			faults = append(faults, field.Required(at.Child("image"), ""))
		}
		if i >= from && c.TargetContainerName != "" && targets > 0 && !hasContainer(spec, c.TargetContainerName) {
			faults = append(faults, field.NotFound(at.Child("targetContainerName"), c.TargetContainerName))
		}
		names[c.Name] = true
	}
	return faults
}

func hasContainer(spec *corev1.PodSpec, name string) bool {
	is := func(c corev1.Container) bool { return c.Name == name }
	return slices.ContainsFunc(spec.Containers, is) || slices.ContainsFunc(spec.InitContainers, is)
}

// prepareResize lets only the containers' resources and resize policies through.
func prepareResize(obj, old api.Object) {
	next, was := obj.(*corev1.Pod), old.(*corev1.Pod).DeepCopy()
	merge := func(into, from []corev1.Container) {
		for i := range into {
			at := slices.IndexFunc(from, func(c corev1.Container) bool { return c.Name == into[i].Name })
			if at >= 0 {
				into[i].Resources = from[at].Resources
				into[i].ResizePolicy = from[at].ResizePolicy
			}
		}
	}
	before := was.DeepCopy()
	merge(was.Spec.Containers, next.Spec.Containers)
	merge(was.Spec.InitContainers, next.Spec.InitContainers)
	was.ManagedFields, was.ResourceVersion = next.ManagedFields, next.ResourceVersion
	a, err1 := before.Spec.Marshal()
	b, err2 := was.Spec.Marshal()
	if err1 == nil && err2 == nil && string(a) != string(b) && was.Generation > 0 {
		was.Generation++
	}
	*next = *was
}

// validateResize refuses what cannot be changed on a pod that runs: other than CPU and memory.
func validateResize(obj, old api.Object) field.ErrorList {
	var faults field.ErrorList
	next, was := obj.(*corev1.Pod).Spec, old.(*corev1.Pod).Spec
	for i := range next.Containers {
		path := field.NewPath("spec", "containers").Index(i).Child("resources")
		faults = append(faults, onlyComputeChanged(next.Containers[i].Resources.Limits, was.Containers[i].Resources.Limits, path.Child("limits"))...)
		faults = append(faults, onlyComputeChanged(next.Containers[i].Resources.Requests, was.Containers[i].Resources.Requests, path.Child("requests"))...)
	}
	return faults
}

func onlyComputeChanged(next, was corev1.ResourceList, path *field.Path) field.ErrorList {
	var faults field.ErrorList
	for name, q := range next {
		if name == corev1.ResourceCPU || name == corev1.ResourceMemory {
			continue
		}
		if have, ok := was[name]; !ok || have.Cmp(q) != 0 {
			faults = append(faults, field.Forbidden(path.Key(string(name)), "only cpu and memory resources are mutable"))
		}
	}
	for name := range was {
		if _, ok := next[name]; !ok {
			faults = append(faults, field.Forbidden(path.Key(string(name)), "resource "+string(name)+" cannot be removed"))
		}
	}
	return faults
}

// prepareApproval lets only approval conditions through; the signer's fields stay.
func prepareApproval(obj, old api.Object) {
	next, was := obj.(*certificatesv1.CertificateSigningRequest), old.(*certificatesv1.CertificateSigningRequest).DeepCopy()
	conditions := next.Status.Conditions
	was.ManagedFields, was.ResourceVersion = next.ManagedFields, next.ResourceVersion
	was.Status.Conditions = conditions
	*next = *was
}
