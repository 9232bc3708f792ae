package podspec

import (
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/rule"
)

func isWindows(spec *corev1.PodSpec) bool {
	return spec.OS != nil && spec.OS.Name == corev1.Windows
}

// operatingSystem refuses what the named system does not have.
func (v *validating) operatingSystem(at *field.Path) {
	if v.spec.OS == nil {
		return
	}
	switch v.spec.OS.Name {
	case "":
		v.Required(at.Child("os", "name"), "")
	case corev1.Linux:
		v.linux(at)
	case corev1.Windows:
		v.windows(at)
	default:
		rule.OneOf(v.Faults, at.Child("os"), v.spec.OS.Name, corev1.Linux, corev1.Windows)
	}
}

func (v *validating) linux(at *field.Path) {
	const text = "windows options cannot be set for a linux pod"
	if s := v.spec.SecurityContext; s != nil && s.WindowsOptions != nil {
		v.Forbidden(at.Child("securityContext", "windowsOptions"), text)
	}
	EachContainerAt(v.spec, at, func(c *corev1.Container, path *field.Path) {
		if c.SecurityContext != nil && c.SecurityContext.WindowsOptions != nil {
			v.Forbidden(path.Child("securityContext", "windowsOptions"), text)
		}
	})
}

func (v *validating) windows(at *field.Path) {
	refuse := func(set bool, path *field.Path) {
		if set {
			v.Forbidden(path, "cannot be set for a windows pod")
		}
	}
	refuse(v.spec.HostUsers != nil, at.Child("hostUsers"))
	refuse(v.spec.HostPID, at.Child("hostPID"))
	refuse(v.spec.HostIPC, at.Child("hostIPC"))
	if s := v.spec.SecurityContext; s != nil {
		path := at.Child("securityContext")
		refuse(s.AppArmorProfile != nil, path.Child("appArmorProfile"))
		refuse(s.SELinuxOptions != nil, path.Child("seLinuxOptions"))
		refuse(s.SeccompProfile != nil, path.Child("seccompProfile"))
		refuse(s.FSGroup != nil, path.Child("fsGroup"))
		refuse(s.FSGroupChangePolicy != nil, path.Child("fsGroupChangePolicy"))
		refuse(len(s.Sysctls) > 0, path.Child("sysctls"))
	}
	refuse(v.spec.ShareProcessNamespace != nil, at.Child("shareProcessNamespace"))
	if s := v.spec.SecurityContext; s != nil {
		path := at.Child("securityContext")
		refuse(s.RunAsUser != nil, path.Child("runAsUser"))
		refuse(s.RunAsGroup != nil, path.Child("runAsGroup"))
		refuse(s.SupplementalGroups != nil, path.Child("supplementalGroups"))
		refuse(s.SupplementalGroupsPolicy != nil, path.Child("supplementalGroupsPolicy"))
		refuse(s.SELinuxChangePolicy != nil, path.Child("seLinuxChangePolicy"))
	}
	EachContainerAt(v.spec, at, func(c *corev1.Container, path *field.Path) {
		s, path := c.SecurityContext, path.Child("securityContext")
		if s == nil {
			return
		}
		refuse(s.AppArmorProfile != nil, path.Child("appArmorProfile"))
		refuse(s.SELinuxOptions != nil, path.Child("seLinuxOptions"))
		refuse(s.SeccompProfile != nil, path.Child("seccompProfile"))
		refuse(s.Capabilities != nil, path.Child("capabilities"))
		refuse(s.ReadOnlyRootFilesystem != nil, path.Child("readOnlyRootFilesystem"))
		refuse(s.Privileged != nil, path.Child("privileged"))
		refuse(s.AllowPrivilegeEscalation != nil, path.Child("allowPrivilegeEscalation"))
		refuse(s.ProcMount != nil, path.Child("procMount"))
		refuse(s.RunAsUser != nil, path.Child("runAsUser"))
		refuse(s.RunAsGroup != nil, path.Child("runAsGroup"))
	})
}

// hostProcess: Windows runs either all or none of a pod's containers as processes of the host.
func (v *validating) hostProcess(at *field.Path) {
	var whole *bool
	if s := v.spec.SecurityContext; s != nil && s.WindowsOptions != nil {
		whole = s.WindowsOptions.HostProcess
	}
	count, host := 0, 0
	EachContainerAt(v.spec, at, func(c *corev1.Container, path *field.Path) {
		count++
		own := whole
		if c.SecurityContext != nil && c.SecurityContext.WindowsOptions != nil && c.SecurityContext.WindowsOptions.HostProcess != nil {
			own = c.SecurityContext.WindowsOptions.HostProcess
			if whole != nil && *whole != *own {
				v.Invalid(path.Child("securityContext", "windowsOptions", "hostProcess"), *own, fmt.Sprintf("pod hostProcess value must be identical if both are specified, was %v", *whole))
			}
		}
		if own != nil && *own {
			host++
		}
	})
	if host == 0 {
		return
	}
	if host != count {
		v.Invalid(at, "", "If pod contains any hostProcess containers then all containers must be HostProcess containers")
	}
	if !v.spec.HostNetwork {
		v.Invalid(at.Child("hostNetwork"), false, "hostNetwork must be true if pod contains any hostProcess containers")
	}
}

const (
	maxCredentialSpec = 64 * 1024
	maxDomain         = 256
	maxUser           = 104
)

var (
	controlChars  = regexp.MustCompile(`[[:cntrl:]]+`)
	netBIOSName   = regexp.MustCompile(`^[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}$`)
	domainName    = regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)(\.([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?))*$`)
	dotsAndSpaces = regexp.MustCompile(`^[\. ]+$`)
)

func (v *validating) windowsOptions(w *corev1.WindowsSecurityContextOptions, at *field.Path) {
	if w == nil {
		return
	}
	if w.GMSACredentialSpecName != nil {
		v.DNSSubdomain(at.Child("gmsaCredentialSpecName"), *w.GMSACredentialSpecName)
	}
	if s := w.GMSACredentialSpec; s != nil {
		switch n := len(*s); {
		case n == 0:
			v.Invalid(at.Child("gmsaCredentialSpec"), s, "gmsaCredentialSpec cannot be an empty string")
		case n > maxCredentialSpec:
			v.Invalid(at.Child("gmsaCredentialSpec"), s, "gmsaCredentialSpec size must be under 64 KiB")
		}
	}
	if w.RunAsUserName != nil {
		v.windowsUser(*w.RunAsUserName, at.Child("runAsUserName"))
	}
}

func (v *validating) windowsUser(name string, at *field.Path) {
	wrong := func(text string) { v.Invalid(at, name, text) }
	parts := strings.Split(name, `\`)
	switch {
	case name == "":
		wrong("runAsUserName cannot be an empty string")
		return
	case controlChars.MatchString(name):
		wrong("runAsUserName cannot contain control characters")
		return
	case len(parts) > 2:
		wrong("runAsUserName cannot contain more than one backslash")
		return
	case len(parts) == 2:
		if len(parts[0]) >= maxDomain {
			wrong("runAsUserName's Domain length must be under 256 characters")
		}
		if !netBIOSName.MatchString(parts[0]) && !domainName.MatchString(parts[0]) {
			wrong("runAsUserName's Domain doesn't match the NetBios nor the DNS format")
		}
	}
	user := parts[len(parts)-1]
	switch {
	case user == "":
		wrong("runAsUserName's User cannot be empty")
	case len(user) > maxUser:
		wrong("runAsUserName's User length must not be longer than 104 characters")
	}
	if dotsAndSpaces.MatchString(user) {
		wrong("runAsUserName's User cannot contain only periods or spaces")
	}
	if strings.ContainsAny(user, `"/\:;|=,+*?<>@[]`) {
		wrong(`runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]`)
	}
}
