package podworker

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"clipper/node/podworker/environment"
	"clipper/node/podworker/lifecycle"
	"clipper/node/pull"
	"clipper/node/runtime"
)

// containerSpec translates a container into what the runtime is asked for. Its errors are the user's to
// mend: they become CreateContainerConfigError.
func (w *Worker) containerSpec(ctx context.Context, pod *corev1.Pod, c *corev1.Container, sandbox string, attempt int, ips []netip.Addr) (runtime.Container, error) {
	vars, err := w.cfg.environment().Of(ctx, pod, c, ips)
	if err != nil {
		return runtime.Container{}, err
	}
	mounts, err := w.mounts(ctx, pod, c, attempt, vars)
	if err != nil {
		return runtime.Container{}, err
	}
	devices, err := w.devices(pod, c)
	if err != nil {
		return runtime.Container{}, err
	}
	sec, err := w.security(ctx, pod, c)
	if err != nil {
		return runtime.Container{}, err
	}
	s := runtime.Container{
		SandboxID: sandbox, Name: c.Name, Attempt: attempt, Image: c.Image, WorkDir: c.WorkingDir,
		Command: expandAll(c.Command, vars), Args: expandAll(c.Args, vars),
		TTY: c.TTY, Stdin: c.Stdin, StdinOnce: c.StdinOnce,
		Mounts: mounts, Devices: devices, Security: sec,
		LogPath:   filepath.Join(w.logDir(pod), c.Name, strconv.Itoa(attempt)+".log"),
		Resources: w.cfg.Cgroups.Container(pod, c),
		Labels:    containerLabels(pod, c), Annotations: containerAnnotations(c, attempt),
	}
	if !pod.Spec.HostNetwork {
		host, _ := w.cfg.naming().Hostname(pod)
		s.Env = append(s.Env, "HOSTNAME="+host)
	}
	s.Env = append(s.Env, vars.List()...)
	if err := w.target(pod, c, &s); err != nil {
		return s, err
	}
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
		s.StopSignal = string(*c.Lifecycle.StopSignal)
	}
	if err := w.giveScarce(ctx, pod, c, &s); err != nil {
		return s, err
	}
	if err := os.MkdirAll(filepath.Dir(s.LogPath), 0o755); err != nil {
		return s, fmt.Errorf("create log directory: %w", err)
	}
	return s, nil
}

// target has an ephemeral container join the PID namespace of the container that it is to look into.
func (w *Worker) target(pod *corev1.Pod, c *corev1.Container, s *runtime.Container) error {
	i := slices.IndexFunc(pod.Spec.EphemeralContainers, func(e corev1.EphemeralContainer) bool { return e.Name == c.Name })
	if i < 0 || pod.Spec.EphemeralContainers[i].TargetContainerName == "" {
		return nil
	}
	name := pod.Spec.EphemeralContainers[i].TargetContainerName
	current, _ := w.Container(name)
	if current == nil {
		return fmt.Errorf("unable to find target container %v", name)
	}
	if !pod.Spec.HostPID && !ptr.Deref(pod.Spec.ShareProcessNamespace, false) {
		s.PID, s.TargetID = runtime.TargetPID, current.ID
	}
	return nil
}

func expandAll(in []string, vars *environment.Variables) []string {
	if in == nil {
		return nil
	}
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = environment.Expand(s, vars.Lookup)
	}
	return out
}

// mounts lists the container's mounts: its volumes, then the files every container gets unless it mounts
// something there itself.
func (w *Worker) mounts(ctx context.Context, pod *corev1.Pod, c *corev1.Container, attempt int, vars *environment.Variables) ([]runtime.Mount, error) {
	var out []runtime.Mount
	taken := map[string]bool{}
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		sub, err := subPath(m, vars)
		if err != nil {
			return nil, err
		}
		host, err := w.cfg.Volumes.Path(ctx, pod, c.Name, m, sub)
		if err != nil {
			return nil, err
		}
		path := m.MountPath
		if !filepath.IsAbs(path) {
			path = "/" + path
		}
		taken[filepath.Clean(path)] = true
		rm := runtime.Mount{Host: host, Container: path, ReadOnly: m.ReadOnly}
		if v := findVolume(pod, m.Name); v != nil {
			rm.ReadOnly, rm.Unmapped = rm.ReadOnly || isReadOnly(v), v.Image != nil
		}
		if m.RecursiveReadOnly != nil && *m.RecursiveReadOnly != corev1.RecursiveReadOnlyDisabled {
			rm.RecursiveReadOnly = true
		}
		if m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone {
			rm.Propagation = string(*m.MountPropagation)
		}
		out = append(out, rm)
	}
	files, err := w.containerFiles(pod, c, attempt)
	if err != nil {
		return nil, err
	}
	for _, m := range files {
		if !taken[filepath.Clean(m.Container)] {
			out = append(out, m)
		}
	}
	return out, nil
}

// devices lists the block volumes that the container asks for.
func (w *Worker) devices(pod *corev1.Pod, c *corev1.Container) ([]runtime.Device, error) {
	var out []runtime.Device
	for _, d := range c.VolumeDevices {
		path, readOnly, err := w.cfg.Volumes.Device(pod, d.Name)
		if err != nil {
			return nil, err
		}
		permissions := "mrw"
		if readOnly {
			permissions = "r"
		}
		out = append(out, runtime.Device{Host: path, Container: d.DevicePath, Permissions: permissions})
	}
	return out, nil
}

func findVolume(pod *corev1.Pod, name string) *corev1.Volume {
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; v.Name == name {
			return v
		}
	}
	return nil
}

// isReadOnly reports whether containers may only read a volume, whatever they say: what the node writes and
// keeps up to date, images, and sources that are marked so.
func isReadOnly(v *corev1.Volume) bool {
	switch {
	case v.ConfigMap != nil, v.Secret != nil, v.DownwardAPI != nil, v.Projected != nil, v.Image != nil:
		return true
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ReadOnly
	case v.CSI != nil:
		return ptr.Deref(v.CSI.ReadOnly, false)
	case v.NFS != nil:
		return v.NFS.ReadOnly
	case v.ISCSI != nil:
		return v.ISCSI.ReadOnly
	}
	return false
}

func subPath(m *corev1.VolumeMount, vars *environment.Variables) (string, error) {
	if m.SubPathExpr == "" {
		return m.SubPath, nil
	}
	missing := ""
	s := environment.Expand(m.SubPathExpr, func(name string) (string, bool) {
		v, ok := vars.Lookup(name)
		if !ok {
			missing = name
		}
		return v, ok
	})
	switch {
	case missing != "":
		return "", fmt.Errorf("missing value for %q", missing)
	case filepath.IsAbs(s):
		return "", fmt.Errorf("subPath `%s` must not be an absolute path", s)
	case slices.Contains(strings.Split(s, "/"), ".."):
		return "", fmt.Errorf("subPath `%s` must not contain '..'", s)
	}
	return s, nil
}

// security merges the pod's and the container's security contexts.
func (w *Worker) security(ctx context.Context, pod *corev1.Pod, c *corev1.Container) (runtime.Security, error) {
	var s runtime.Security
	psc, csc := pod.Spec.SecurityContext, c.SecurityContext
	if psc == nil {
		psc = &corev1.PodSecurityContext{}
	}
	if csc == nil {
		csc = &corev1.SecurityContext{}
	}
	s.User, s.Group = cmp.Or(csc.RunAsUser, psc.RunAsUser), cmp.Or(csc.RunAsGroup, psc.RunAsGroup)
	s.SupplementalGroups = append(slices.Clone(psc.SupplementalGroups), w.cfg.Volumes.Groups(pod)...)
	if psc.FSGroup != nil {
		s.SupplementalGroups = append(s.SupplementalGroups, *psc.FSGroup)
	}
	if p := psc.SupplementalGroupsPolicy; p != nil && *p == corev1.SupplementalGroupsPolicyStrict {
		s.SupplementalStrict = true
	}
	s.Privileged = ptr.Deref(csc.Privileged, false)
	s.ReadOnlyRoot = ptr.Deref(csc.ReadOnlyRootFilesystem, false)
	s.NoNewPrivileges = csc.AllowPrivilegeEscalation != nil && !*csc.AllowPrivilegeEscalation
	s.UnmaskedProc = csc.ProcMount != nil && *csc.ProcMount == corev1.UnmaskedProcMount
	if caps := csc.Capabilities; caps != nil {
		for _, a := range caps.Add {
			s.AddCapabilities = append(s.AddCapabilities, strings.TrimPrefix(string(a), "CAP_"))
		}
		for _, d := range caps.Drop {
			s.DropCapabilities = append(s.DropCapabilities, strings.TrimPrefix(string(d), "CAP_"))
		}
	}
	s.Seccomp = w.seccomp(cmp.Or(csc.SeccompProfile, psc.SeccompProfile))
	if a := cmp.Or(csc.AppArmorProfile, psc.AppArmorProfile); a != nil {
		s.AppArmor = string(a.Type)
		if a.LocalhostProfile != nil {
			s.AppArmor = *a.LocalhostProfile
		}
	}
	if o := cmp.Or(csc.SELinuxOptions, psc.SELinuxOptions); o != nil {
		s.SELinux = &runtime.SELinux{User: o.User, Role: o.Role, Type: o.Type, Level: o.Level}
	}
	return s, w.checkNonRoot(ctx, pod, c, cmp.Or(csc.RunAsNonRoot, psc.RunAsNonRoot), s.User)
}

func (w *Worker) seccomp(p *corev1.SeccompProfile) string {
	switch {
	case p == nil && w.cfg.Unconfined:
		return "Unconfined"
	case p == nil || p.Type == corev1.SeccompProfileTypeRuntimeDefault:
		return "RuntimeDefault"
	case p.Type == corev1.SeccompProfileTypeLocalhost && p.LocalhostProfile != nil:
		return filepath.Join(filepath.Dir(w.cfg.PodsDir), "seccomp", filepath.Clean("/"+*p.LocalhostProfile))
	}
	return "Unconfined"
}

// checkNonRoot enforces runAsNonRoot against the user that the container would really get.
func (w *Worker) checkNonRoot(ctx context.Context, pod *corev1.Pod, c *corev1.Container, nonRoot *bool, user *int64) error {
	if !ptr.Deref(nonRoot, false) {
		return nil
	}
	where := fmt.Sprintf("(pod: %q, container: %s)", lifecycle.FullName(pod), c.Name)
	if user != nil {
		if *user == 0 {
			return fmt.Errorf("container's runAsUser breaks non-root policy %s", where)
		}
		return nil
	}
	name, _, err := pull.WithTag(c.Image)
	if err != nil {
		return err
	}
	img, err := w.cfg.Images.ImageStatus(ctx, name)
	if err != nil {
		return err
	}
	u, _, _ := strings.Cut(img.User, ":")
	if u == "" {
		return fmt.Errorf("container has runAsNonRoot and image will run as root %s", where)
	}
	uid, err := strconv.ParseInt(u, 10, 64)
	switch {
	case err != nil:
		return fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root %s", u, where)
	case uid == 0:
		return fmt.Errorf("container has runAsNonRoot and image will run as root %s", where)
	}
	return nil
}
