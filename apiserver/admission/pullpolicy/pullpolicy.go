// Package pullpolicy has every image pulled anew: where several parties share nodes, a pod must not run a private
// image only because somebody else's pod has brought it to the node.
package pullpolicy

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api/containers"
	"clipper/apiserver/admission"
	"clipper/catalogue/core/podspec"
)

// A Plugin is the admission plug-in AlwaysPullImages.
type Plugin struct{}

// Admit sets the policy of all containers and image volumes.
func (Plugin) Admit(_ context.Context, a *admission.Attributes) error {
	pod := concerned(a)
	if pod == nil {
		return nil
	}
	for c := range containers.All(&pod.Spec) {
		c.ImagePullPolicy = corev1.PullAlways
	}
	for i := range pod.Spec.Volumes {
		if image := pod.Spec.Volumes[i].Image; image != nil {
			image.PullPolicy = corev1.PullAlways
		}
	}
	return nil
}

// Validate looks whether it has stayed so.
func (Plugin) Validate(_ context.Context, a *admission.Attributes) error {
	pod := concerned(a)
	if pod == nil {
		return nil
	}
	var faults []error
	check := func(p corev1.PullPolicy, at *field.Path) {
		if p != corev1.PullAlways {
			faults = append(faults, a.Forbidden(field.NotSupported(at, p, []string{string(corev1.PullAlways)})))
		}
	}
	spec := field.NewPath("spec")
	podspec.EachContainerAt(&pod.Spec, spec, func(c *corev1.Container, at *field.Path) {
		check(c.ImagePullPolicy, at.Child("imagePullPolicy"))
	})
	for i := range pod.Spec.Volumes {
		if image := pod.Spec.Volumes[i].Image; image != nil {
			check(image.PullPolicy, spec.Child("volumes").Index(i).Child("image", "pullPolicy"))
		}
	}
	return utilerrors.NewAggregate(faults)
}

// concerned returns the pod that is written, unless it is one that gets no other images.
func concerned(a *admission.Attributes) *corev1.Pod {
	if !a.Is("", "pods") || a.Operation != admission.Create && a.Operation != admission.Update {
		return nil
	}
	pod := a.Object.(*corev1.Pod)
	if a.Operation == admission.Create {
		return pod
	}
	had, other := map[string]bool{}, false
	for c := range containers.All(&a.Old.(*corev1.Pod).Spec) {
		had[c.Image] = true
	}
	for c := range containers.All(&pod.Spec) {
		other = other || !had[c.Image]
	}
	if !other {
		return nil
	}
	return pod
}
