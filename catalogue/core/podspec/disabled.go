package podspec

import (
	corev1 "k8s.io/api/core/v1"

	"clipper/api/containers"
)

// DropDisabled clears the fields of features that a v1.36 server has switched off by default. What the
// old spec (nil on create) already uses stays.
func DropDisabled(spec, old *corev1.PodSpec) {
	if old == nil || old.SchedulingGroup == nil {
		spec.SchedulingGroup = nil
	}
	used := inUse(old)
	for c := range containers.All(spec) {
		if c.Lifecycle == nil || c.Lifecycle.StopSignal == nil || used.stopSignal {
			continue
		}
		if c.Lifecycle.StopSignal = nil; *c.Lifecycle == (corev1.Lifecycle{}) {
			c.Lifecycle = nil
		}
	}
	eachProjection(spec, func(s *corev1.VolumeProjection) {
		if !used.trustBundle {
			s.ClusterTrustBundle = nil
		}
		if !used.podCertificate {
			s.PodCertificate = nil
		}
	})
}

// DropDisabledTemplate is DropDisabled for templates; nil ones are fine.
func DropDisabledTemplate(t, old *corev1.PodTemplateSpec) {
	switch {
	case t == nil:
	case old == nil:
		DropDisabled(&t.Spec, nil)
	default:
		DropDisabled(&t.Spec, &old.Spec)
	}
}

type disabled struct{ stopSignal, trustBundle, podCertificate bool }

func inUse(spec *corev1.PodSpec) (d disabled) {
	if spec == nil {
		return d
	}
	for c := range containers.All(spec) {
		d.stopSignal = d.stopSignal || c.Lifecycle != nil && c.Lifecycle.StopSignal != nil
	}
	eachProjection(spec, func(s *corev1.VolumeProjection) {
		d.trustBundle = d.trustBundle || s.ClusterTrustBundle != nil
		d.podCertificate = d.podCertificate || s.PodCertificate != nil
	})
	return d
}

func eachProjection(spec *corev1.PodSpec, visit func(*corev1.VolumeProjection)) {
	for i := range spec.Volumes {
		if p := spec.Volumes[i].Projected; p != nil {
			for j := range p.Sources {
				visit(&p.Sources[j])
			}
		}
	}
}
