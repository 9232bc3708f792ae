package podspec

import (
	"maps"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/rule"
)

func (v *validating) mounts(c *corev1.Container, at *field.Path) {
	paths := rule.Seen[string]{}
	for i, m := range c.VolumeMounts {
		p := at.Index(i)
		v.Need(p.Child("name"), m.Name)
		if v.volumes[m.Name] == nil {
			v.NotFound(p.Child("name"), m.Name)
		}
		v.Need(p.Child("mountPath"), m.MountPath)
		if paths.Again(m.MountPath) {
			v.Invalid(p.Child("mountPath"), m.MountPath, "must be unique")
		}
		if slices.ContainsFunc(c.VolumeDevices, func(d corev1.VolumeDevice) bool { return d.Name == m.Name }) {
			v.Invalid(p.Child("name"), m.Name, "must not already exist in volumeDevices")
		}
		if slices.ContainsFunc(c.VolumeDevices, func(d corev1.VolumeDevice) bool { return d.DevicePath == m.MountPath }) {
			v.Invalid(p.Child("mountPath"), m.MountPath, "must not already exist as a path in volumeDevices")
		}
		if m.SubPath != "" {
			v.localPath(m.SubPath, at.Child("subPath"))
		}
		if m.SubPathExpr != "" {
			if m.SubPath != "" {
				v.Invalid(p.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive")
			}
			v.localPath(m.SubPathExpr, at.Child("subPathExpr"))
		}
		v.propagation(&m, c, at)
	}
}

func (v *validating) propagation(m *corev1.VolumeMount, c *corev1.Container, at *field.Path) {
	if mode := m.MountPropagation; mode != nil {
		p := at.Child("mountPropagation")
		rule.OneOf(v.Faults, p, *mode, corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer, corev1.MountPropagationNone)
		privileged := c.SecurityContext != nil && c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged
		if *mode == corev1.MountPropagationBidirectional && !privileged {
			v.Forbidden(p, "Bidirectional mount propagation is available only to privileged containers")
		}
	}
	if m.RecursiveReadOnly == nil || *m.RecursiveReadOnly == corev1.RecursiveReadOnlyDisabled {
		return
	}
	p := at.Child("recursiveReadOnly")
	switch *m.RecursiveReadOnly {
	case corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible:
		if !m.ReadOnly {
			v.Forbidden(p, "may only be specified when readOnly is true")
		}
		if m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone {
			v.Forbidden(p, "may only be specified when mountPropagation is None or not specified")
		}
	default:
		rule.OneOf(v.Faults, p, *m.RecursiveReadOnly, corev1.RecursiveReadOnlyDisabled, corev1.RecursiveReadOnlyIfPossible, corev1.RecursiveReadOnlyEnabled)
	}
}

func (v *validating) devices(c *corev1.Container, at *field.Path) {
	names, paths := rule.Seen[string]{}, rule.Seen[string]{}
	mounts := map[string]string{} // of several mounts of a volume the last one counts
	for _, m := range c.VolumeMounts {
		mounts[m.Name] = m.MountPath
	}
	for i, d := range c.VolumeDevices {
		p := at.Index(i)
		v.Need(p.Child("name"), d.Name)
		if names[d.Name] {
			v.Invalid(p.Child("name"), d.Name, "must be unique")
		}
		switch source := v.volumes[d.Name]; {
		case source == nil:
			v.NotFound(p.Child("name"), d.Name)
		case source.PersistentVolumeClaim == nil && source.Ephemeral == nil:
			v.Invalid(p.Child("name"), d.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode")
		}
		v.Need(p.Child("devicePath"), d.DevicePath)
		if paths[d.DevicePath] {
			v.Invalid(p.Child("devicePath"), d.DevicePath, "must be unique")
		}
		if hasBackstep(d.DevicePath) {
			v.Invalid(p.Child("devicePath"), d.DevicePath, "can not contain backsteps ('..')")
		} else {
			paths[d.DevicePath] = true
		}
		if _, mounted := mounts[d.Name]; mounted {
			v.Invalid(p.Child("name"), d.Name, "must not already exist in volumeMounts")
		}
		if slices.Contains(slices.Collect(maps.Values(mounts)), d.DevicePath) {
			v.Invalid(p.Child("devicePath"), d.DevicePath, "must not already exist as a path in volumeMounts")
		}
		if d.Name != "" {
			names[d.Name] = true
		}
	}
}

// localPath asks for a relative path that stays below where it starts.
func (v *validating) localPath(p string, at *field.Path) { LocalPath(v.Faults, p, at) }

// LocalPath asks for a relative path that stays below where it starts.
func LocalPath(f *rule.Faults, p string, at *field.Path) {
	if path.IsAbs(p) {
		f.Invalid(at, p, "must be a relative path")
	}
	NoBacksteps(f, p, at)
}

// filePath is localPath for files that the node agent writes: names that start with ".." are its own.
func (v *validating) filePath(p string, at *field.Path) {
	v.localPath(p, at)
	if strings.HasPrefix(p, "..") && !strings.HasPrefix(p, "../") {
		v.Invalid(at, p, "must not start with '..'")
	}
}

func (v *validating) noBacksteps(p string, at *field.Path) { NoBacksteps(v.Faults, p, at) }

// NoBacksteps refuses ".." as an element of a path.
func NoBacksteps(f *rule.Faults, p string, at *field.Path) {
	if hasBackstep(p) {
		f.Invalid(at, p, "must not contain '..'")
	}
}

func hasBackstep(p string) bool { return slices.Contains(strings.Split(p, "/"), "..") }
