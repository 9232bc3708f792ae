package podspec

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api/containers"
	"clipper/catalogue/rule"
)

const maxAppArmorProfile = 4095 // a path

func (v *validating) podSecurity(at *field.Path) {
	s := v.spec.SecurityContext
	share := v.spec.ShareProcessNamespace
	if share != nil && *share && v.spec.HostPID {
		v.Invalid(at.Child("shareProcessNamespace"), true, "ShareProcessNamespace and HostPID cannot both be enabled")
	}
	if s == nil {
		return
	}
	v.group(s.FSGroup, at.Child("fsGroup"))
	v.user(s.RunAsUser, at.Child("runAsUser"))
	v.group(s.RunAsGroup, at.Child("runAsGroup"))
	for i := range s.SupplementalGroups {
		v.group(&s.SupplementalGroups[i], at.Child("supplementalGroups").Index(i))
	}
	v.sysctls(s.Sysctls, at.Child("sysctls"))
	if s.FSGroupChangePolicy != nil {
		rule.OneOf(v.Faults, at.Child("fsGroupChangePolicy"), *s.FSGroupChangePolicy, corev1.FSGroupChangeOnRootMismatch, corev1.FSGroupChangeAlways)
	}
	v.seccomp(s.SeccompProfile, at.Child("seccompProfile"))
	v.windowsOptions(s.WindowsOptions, at.Child("windowsOptions"))
	v.appArmor(s.AppArmorProfile, at.Child("appArmorProfile"))
	if s.SupplementalGroupsPolicy != nil {
		rule.OneOf(v.Faults, at.Child("supplementalGroupsPolicy"), *s.SupplementalGroupsPolicy, corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict)
	}
	if s.SELinuxChangePolicy != nil {
		policies := []corev1.PodSELinuxChangePolicy{corev1.SELinuxChangePolicyRecursive}
		if v.AnySELinuxChange {
			policies = append(policies, corev1.SELinuxChangePolicyMountOption)
		}
		rule.OneOf(v.Faults, at.Child("seLinuxChangePolicy"), *s.SELinuxChangePolicy, policies...)
	}
}

func (v *validating) user(id *int64, at *field.Path) {
	if id != nil {
		v.Each(at, *id, utilvalidation.IsValidUserID(*id))
	}
}

func (v *validating) group(id *int64, at *field.Path) {
	if id != nil {
		v.Each(at, *id, utilvalidation.IsValidGroupID(*id))
	}
}

var sysctlName = regexp.MustCompile(`^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$`)

func (v *validating) sysctls(list []corev1.Sysctl, at *field.Path) {
	seen := rule.Seen[string]{}
	for i, s := range list {
		path := at.Index(i).Child("name")
		switch {
		case s.Name == "":
			v.Required(path, "")
		case len(s.Name) > 253 || !sysctlName.MatchString(s.Name):
			v.Invalid(path, s.Name, fmt.Sprintf("must have at most 253 characters and match regex %s", sysctlName))
		case seen[s.Name]:
			v.Duplicate(path, s.Name)
		}
		seen[s.Name] = true
		name := strings.ReplaceAll(s.Name, "/", ".")
		if v.spec.HostNetwork && strings.HasPrefix(name, "net.") {
			v.Invalid(path, s.Name, "may not be specified when 'hostNetwork' is true")
		}
		if v.spec.HostIPC && (strings.HasPrefix(name, "kernel.shm") || strings.HasPrefix(name, "kernel.msg") || name == "kernel.sem" || strings.HasPrefix(name, "fs.mqueue.")) {
			v.Invalid(path, s.Name, "may not be specified when 'hostIPC' is true")
		}
	}
}

func (v *validating) security(s *corev1.SecurityContext, at *field.Path) {
	if s == nil {
		return
	}
	if s.Privileged != nil && *s.Privileged && unprivileged.Load() {
		v.Forbidden(at.Child("privileged"), "disallowed by cluster policy")
	}
	v.user(s.RunAsUser, at.Child("runAsUser"))
	v.group(s.RunAsGroup, at.Child("runAsGroup"))
	if s.ProcMount != nil {
		if *s.ProcMount != corev1.DefaultProcMount && *s.ProcMount != corev1.UnmaskedProcMount {
			v.Add(field.NotSupported(at.Child("procMount"), *s.ProcMount, []corev1.ProcMountType{corev1.DefaultProcMount, corev1.UnmaskedProcMount}))
		}
		if *s.ProcMount == corev1.UnmaskedProcMount && sharesUsers(v.spec) {
			v.Invalid(at.Child("procMount"), s.ProcMount, "`hostUsers` must be false to use `Unmasked`")
		}
	}
	v.seccomp(s.SeccompProfile, at.Child("seccompProfile"))
	if s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation {
		if s.Privileged != nil && *s.Privileged {
			v.Invalid(at, s, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
		}
		if s.Capabilities != nil {
			for _, c := range s.Capabilities.Add {
				if c == "CAP_SYS_ADMIN" {
					v.Invalid(at, s, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN")
				}
			}
		}
	}
	v.windowsOptions(s.WindowsOptions, at.Child("windowsOptions"))
	v.appArmor(s.AppArmorProfile, at.Child("appArmorProfile"))
}

// unprivileged says that no container may be privileged: the process's setting, as it is upstream.
var unprivileged atomic.Bool

// AllowPrivileged says whether containers may be privileged. They may unless it is called.
func AllowPrivileged(allow bool) { unprivileged.Store(!allow) }

// sharesUsers says that the pod's users are the node's.
func sharesUsers(spec *corev1.PodSpec) bool { return spec.HostUsers == nil || *spec.HostUsers }

func (v *validating) hostUsers(at *field.Path) {
	if sharesUsers(v.spec) {
		return
	}
	const text = "when `hostUsers` is false"
	if v.spec.HostNetwork {
		v.Forbidden(at.Child("hostNetwork"), text)
	}
	if v.spec.HostPID {
		v.Forbidden(at.Child("HostPID"), text)
	}
	if v.spec.HostIPC {
		v.Forbidden(at.Child("HostIPC"), text)
	}
	EachContainerAt(v.spec, at, func(c *corev1.Container, path *field.Path) {
		if len(c.VolumeDevices) > 0 {
			v.Forbidden(path.Child("volumeDevices"), text)
		}
	})
}

func (v *validating) seccomp(p *corev1.SeccompProfile, at *field.Path) {
	if p == nil {
		return
	}
	switch p.Type {
	case corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined:
	case "":
		v.Required(at.Child("type"), "type is required when seccompProfile is set")
	default:
		v.Add(field.NotSupported(at.Child("type"), p.Type, []corev1.SeccompProfileType{
			corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined,
		}))
	}
	switch local := p.Type == corev1.SeccompProfileTypeLocalhost; {
	case local && p.LocalhostProfile == nil:
		v.Required(at.Child("localhostProfile"), "must be set when seccomp type is Localhost")
	case local:
		v.localPath(*p.LocalhostProfile, at.Child("localhostProfile"))
	case p.LocalhostProfile != nil:
		v.Invalid(at.Child("localhostProfile"), p, "can only be set when seccomp type is Localhost")
	}
}

func (v *validating) appArmor(p *corev1.AppArmorProfile, at *field.Path) {
	if p == nil {
		return
	}
	path := at.Child("localhostProfile")
	switch p.Type {
	case corev1.AppArmorProfileTypeLocalhost:
		if p.LocalhostProfile == nil {
			v.Required(path, "must be set when AppArmor type is Localhost")
			return
		}
		name := *p.LocalhostProfile
		switch trimmed := strings.TrimSpace(name); {
		case trimmed != name:
			v.Invalid(path, name, "must not be padded with whitespace")
		case trimmed == "":
			v.Required(path, "must be set when AppArmor type is Localhost")
		}
		if len(name) > maxAppArmorProfile {
			v.Add(field.TooLong(path, "", maxAppArmorProfile))
		}
	case corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined:
		if p.LocalhostProfile != nil {
			v.Invalid(path, p.LocalhostProfile, "can only be set when AppArmor type is Localhost")
		}
	case "":
		v.Required(at.Child("type"), "type is required when appArmorProfile is set")
	default:
		v.Add(field.NotSupported(at.Child("type"), p.Type, []corev1.AppArmorProfileType{
			corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined,
		}))
	}
}

const appArmorPrefix = corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix

// ValidateAnnotations checks the annotations that mean something to pods.
func ValidateAnnotations(set map[string]string, spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	f := &rule.Faults{}
	if mirror, ok := set[corev1.MirrorPodAnnotationKey]; ok && spec.NodeName == "" {
		f.Invalid(at.Key(corev1.MirrorPodAnnotationKey), mirror, "must set spec.nodeName if mirror pod annotation is set")
	}
	if cost, ok := set[corev1.PodDeletionCost]; ok && !isInt32(cost) {
		f.Invalid(at.Key(corev1.PodDeletionCost), cost, "must be a 32bit integer")
	}
	for _, key := range slices.Sorted(maps.Keys(set)) {
		profile := set[key]
		name, ok := strings.CutPrefix(key, appArmorPrefix)
		if !ok {
			continue
		}
		if containers.Named(spec, name) == nil {
			f.Invalid(at.Key(key), name, "container not found")
		}
		if profile != "" && profile != "runtime/default" && profile != "unconfined" && !strings.HasPrefix(profile, "localhost/") {
			f.Invalid(at.Key(key), profile, fmt.Sprintf("invalid AppArmor profile name: %q", profile))
		}
	}
	return f.List
}

// isInt32 refuses a leading plus or zero, as upstream does.
func isInt32(text string) bool {
	_, err := strconv.ParseInt(text, 10, 32)
	return err == nil && (text == "0" || text[0] == '-' || text[0] >= '1' && text[0] <= '9')
}
