// Package containers goes through the containers of pods, of which there are three kinds: init containers, sidecars among
// them; regular ones; and ephemeral ones, which come later and are shown as a Container: their fields are the same.
package containers

import (
	"iter"

	corev1 "k8s.io/api/core/v1"
)

// Of yields init containers, then regular ones: the order of their start.
func Of(spec *corev1.PodSpec) iter.Seq[*corev1.Container] {
	return func(yield func(*corev1.Container) bool) {
		for i := range spec.InitContainers {
			if !yield(&spec.InitContainers[i]) {
				return
			}
		}
		for i := range spec.Containers {
			if !yield(&spec.Containers[i]) {
				return
			}
		}
	}
}

// All yields ephemeral containers too, after the others.
func All(spec *corev1.PodSpec) iter.Seq[*corev1.Container] {
	return func(yield func(*corev1.Container) bool) {
		for c := range Of(spec) {
			if !yield(c) {
				return
			}
		}
		for i := range spec.EphemeralContainers {
			if !yield((*corev1.Container)(&spec.EphemeralContainers[i].EphemeralContainerCommon)) {
				return
			}
		}
	}
}

// Named returns the container of any kind that has the name, nil if there is none.
func Named(spec *corev1.PodSpec, name string) *corev1.Container {
	for c := range All(spec) {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// Statuses yields what is said of the containers of every kind, in the order of All.
func Statuses(s *corev1.PodStatus) iter.Seq[*corev1.ContainerStatus] {
	return func(yield func(*corev1.ContainerStatus) bool) {
		for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
			for i := range list {
				if !yield(&list[i]) {
					return
				}
			}
		}
	}
}
