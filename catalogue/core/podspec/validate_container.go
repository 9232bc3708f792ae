package podspec

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api/containers"
	"clipper/catalogue/rule"
)

func (v *validating) containers(at *field.Path) {
	list := v.spec.Containers
	if len(list) == 0 {
		v.Required(at, "")
		return
	}
	names, ports := rule.Seen[string]{}, rule.Seen[string]{}
	for i := range list {
		c, path := &list[i], at.Index(i)
		v.container(c, path)
		if names.Again(c.Name) {
			v.Duplicate(path.Child("name"), c.Name)
		}
		v.running(c, path)
		v.restartRules(c, path)
	}
	for i := range list {
		v.hostPortConflicts(&list[i], at.Index(i), ports)
	}
	v.untrimmedImages(list, at)
}

func (v *validating) initContainers(at *field.Path) {
	names := rule.Seen[string]{}
	for i := range v.spec.Containers {
		names[v.spec.Containers[i].Name] = true
	}
	for i := range v.spec.InitContainers {
		c, path := &v.spec.InitContainers[i], at.Index(i)
		v.container(c, path)
		sidecar := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		v.initRestartRules(c, path)
		if again := names[c.Name]; again {
			v.Duplicate(path.Child("name"), c.Name)
		} else if c.Name != "" {
			names[c.Name] = true
		}
		v.hostPortConflicts(c, path, rule.Seen[string]{}) // they run one by one
		if sidecar {
			v.running(c, path)
			continue
		}
		v.onlyForSidecars(c, path)
	}
	v.untrimmedImages(v.spec.InitContainers, at)
}

// restartsToResize says that an init container which is no sidecar would have to start again to be resized.
func restartsToResize(c corev1.Container) bool {
	sidecar := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
	return !sidecar && slices.ContainsFunc(c.ResizePolicy, func(p corev1.ContainerResizePolicy) bool {
		return p.RestartPolicy == corev1.RestartContainer
	})
}

func (v *validating) onlyForSidecars(c *corev1.Container, at *field.Path) {
	const text = "may not be set for init containers without restartPolicy=Always"
	refuse := func(name string, set bool) {
		if set {
			v.Forbidden(at.Child(name), text)
		}
	}
	refuse("lifecycle", c.Lifecycle != nil)
	refuse("livenessProbe", c.LivenessProbe != nil)
	refuse("readinessProbe", c.ReadinessProbe != nil)
	refuse("startupProbe", c.StartupProbe != nil)
	for j, p := range c.ResizePolicy {
		if p.RestartPolicy == corev1.RestartContainer && !v.RestartToResize {
			v.Invalid(at.Child("resizePolicy").Index(j).Child("restartPolicy"), p.RestartPolicy, "must not be set to 'RestartContainer' for non-sidecar initContainers")
		}
	}
}

// ephemeralFields are the fields that an ephemeral container may have.
var ephemeralFields = map[string]bool{
	"Name": true, "Image": true, "Command": true, "Args": true, "WorkingDir": true, "Env": true, "EnvFrom": true,
	"VolumeMounts": true, "VolumeDevices": true, "TerminationMessagePath": true, "TerminationMessagePolicy": true,
	"ImagePullPolicy": true, "SecurityContext": true, "Stdin": true, "StdinOnce": true, "TTY": true,
}

func (v *validating) ephemeralContainers(at *field.Path) {
	if len(v.spec.EphemeralContainers) == 0 {
		return
	}
	others, names := map[string]bool{}, rule.Seen[string]{}
	for c := range containers.Of(v.spec) {
		others[c.Name], names[c.Name] = true, true
	}
	for i := range v.spec.EphemeralContainers {
		e, path := &v.spec.EphemeralContainers[i], at.Index(i)
		c := (*corev1.Container)(&e.EphemeralContainerCommon)
		v.container(c, path)
		v.untrimmedImage(c, path)
		if names.Again(e.Name) {
			v.Duplicate(path.Child("name"), e.Name)
		}
		if e.TargetContainerName != "" && !others[e.TargetContainerName] {
			v.NotFound(path.Child("targetContainerName"), e.TargetContainerName)
		}
		v.allowed(e.EphemeralContainerCommon, ephemeralFields, path, "cannot be set for an Ephemeral Container")
		for j, m := range e.VolumeMounts {
			if m.SubPath != "" {
				v.Forbidden(path.Child("volumeMounts").Index(j).Child("subPath"), "cannot be set for an Ephemeral Container")
			}
			if m.SubPathExpr != "" {
				v.Forbidden(path.Child("volumeMounts").Index(j).Child("subPathExpr"), "cannot be set for an Ephemeral Container")
			}
		}
	}
}

// allowed refuses all fields of a struct that are set and not in the list, among them those yet to come.
func (v *validating) allowed(s any, names map[string]bool, at *field.Path, text string) {
	value := reflect.ValueOf(s)
	for i := range value.NumField() {
		name := value.Type().Field(i).Name
		if !names[name] && !value.Field(i).IsZero() {
			first, n := utf8.DecodeRuneInString(name)
			v.Forbidden(at.Child(string(unicode.ToLower(first))+name[n:]), text)
		}
	}
}

// container checks what all sorts of containers have in common.
func (v *validating) container(c *corev1.Container, at *field.Path) {
	if v.Need(at.Child("name"), c.Name) {
		v.DNSLabel(at.Child("name"), c.Name)
	}
	v.Need(at.Child("image"), c.Image)
	rule.Choice(v.Faults, at.Child("terminationMessagePolicy"), c.TerminationMessagePolicy, corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)
	v.ports(c.Ports, at.Child("ports"))
	v.env(c.Env, at.Child("env"))
	v.envFrom(c.EnvFrom, at.Child("envFrom"))
	v.mounts(c, at.Child("volumeMounts"))
	v.devices(c, at.Child("volumeDevices"))
	v.pullPolicy(c.ImagePullPolicy, at.Child("imagePullPolicy"))
	resources(v.Faults, at.Child("resources"), &c.Resources, v.spec.ResourceClaims, containerResourceName)
	v.resizePolicy(c.ResizePolicy, at.Child("resizePolicy"))
	v.security(c.SecurityContext, at.Child("securityContext"))
}

// running checks what containers have that run along with the pod.
func (v *validating) running(c *corev1.Container, at *field.Path) {
	if c.Lifecycle != nil {
		v.lifecycle(c.Lifecycle, at.Child("lifecycle"))
	}
	v.probe(c.LivenessProbe, at.Child("livenessProbe"))
	v.onceEnough(c.LivenessProbe, at.Child("livenessProbe"))
	v.probe(c.ReadinessProbe, at.Child("readinessProbe"))
	if p := c.ReadinessProbe; p != nil && p.TerminationGracePeriodSeconds != nil {
		v.Invalid(at.Child("readinessProbe", "terminationGracePeriodSeconds"), p.TerminationGracePeriodSeconds, "must not be set for readinessProbes")
	}
	v.probe(c.StartupProbe, at.Child("startupProbe"))
	v.onceEnough(c.StartupProbe, at.Child("startupProbe"))
}

func (v *validating) untrimmedImages(list []corev1.Container, at *field.Path) {
	for i := range list {
		v.untrimmedImage(&list[i], at.Index(i))
	}
}

// untrimmedImage is for pods only: templates with a space for an image are in use.
func (v *validating) untrimmedImage(c *corev1.Container, at *field.Path) {
	if v.Pod && c.Image != strings.TrimSpace(c.Image) {
		v.Invalid(at.Child("image"), c.Image, "must not have leading or trailing whitespace")
	}
}

func (v *validating) ports(list []corev1.ContainerPort, at *field.Path) {
	names := rule.Seen[string]{}
	for i, p := range list {
		path := at.Index(i)
		if p.Name != "" {
			if messages := utilvalidation.IsValidPortName(p.Name); len(messages) > 0 {
				v.Each(path.Child("name"), p.Name, messages)
			} else if names.Again(p.Name) {
				v.Duplicate(path.Child("name"), p.Name)
			}
		}
		if p.ContainerPort == 0 {
			v.Required(path.Child("containerPort"), "")
		} else {
			v.Port(path.Child("containerPort"), p.ContainerPort)
		}
		if p.HostPort != 0 {
			v.Port(path.Child("hostPort"), p.HostPort)
		}
		if v.Need(path.Child("protocol"), string(p.Protocol)) {
			rule.OneOf(v.Faults, path.Child("protocol"), p.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
		}
	}
}

func (v *validating) hostPortConflicts(c *corev1.Container, at *field.Path, seen rule.Seen[string]) {
	for i, p := range c.Ports {
		if p.HostPort == 0 {
			continue
		}
		if key := fmt.Sprintf("%s/%s/%d", p.Protocol, p.HostIP, p.HostPort); seen.Again(key) {
			v.Duplicate(at.Child("ports").Index(i).Child("hostPort"), key)
		}
	}
}

func (v *validating) pullPolicy(p corev1.PullPolicy, at *field.Path) {
	if v.Need(at, string(p)) {
		rule.OneOf(v.Faults, at, p, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)
	}
}

func (v *validating) resizePolicy(list []corev1.ContainerResizePolicy, at *field.Path) {
	seen := rule.Seen[corev1.ResourceName]{}
	for i, p := range list {
		if seen.Again(p.ResourceName) {
			v.Duplicate(at.Index(i), p.ResourceName)
		}
		rule.Choice(v.Faults, at, p.ResourceName, corev1.ResourceCPU, corev1.ResourceMemory)
		rule.Choice(v.Faults, at, p.RestartPolicy, corev1.NotRequired, corev1.RestartContainer)
		if v.spec.RestartPolicy == corev1.RestartPolicyNever && p.RestartPolicy != corev1.NotRequired {
			v.Invalid(at, p.RestartPolicy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'")
		}
	}
}

func (v *validating) restartRules(c *corev1.Container, at *field.Path) {
	policy, rules := c.RestartPolicy, c.RestartPolicyRules
	if policy == nil {
		if len(rules) > 0 {
			v.Required(at.Child("restartPolicy"), "must specify restartPolicy when restart rules are used")
		} else {
			return
		}
	} else {
		rule.OneOf(v.Faults, at.Child("restartPolicy"), *policy, corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure)
	}
	if len(rules) > 20 {
		v.Add(field.TooMany(at.Child("restartPolicyRules"), len(rules), 20))
	}
	for i, r := range rules {
		path := at.Child("restartPolicyRules").Index(i)
		rule.OneOf(v.Faults, path.Child("action"), r.Action, corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers)
		if r.ExitCodes == nil {
			v.Required(path.Child("exitCodes"), "must be specified")
			continue
		}
		rule.OneOf(v.Faults, path.Child("exitCodes", "operator"), r.ExitCodes.Operator, corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn)
		if n := len(r.ExitCodes.Values); n > 255 {
			v.Add(field.TooMany(path.Child("exitCodes", "values"), n, 255))
		}
	}
}

// initRestartRules looks at the rules of an init container only if it has a policy, too.
func (v *validating) initRestartRules(c *corev1.Container, at *field.Path) {
	switch {
	case c.RestartPolicy != nil:
		v.restartRules(c, at)
	case len(c.RestartPolicyRules) > 0:
		v.Required(at.Child("restartPolicy"), "must specify restartPolicy when restart rules are used")
	}
}

func (v *validating) resourceClaims(at *field.Path) {
	names := rule.Seen[string]{}
	for i, c := range v.spec.ResourceClaims {
		path := at.Index(i)
		if v.meta != nil {
			if _, static := v.meta.Annotations[corev1.MirrorPodAnnotationKey]; static {
				v.Forbidden(field.NewPath(""), "static pods do not support resource claims")
				continue
			}
		}
		if v.Need(path.Child("name"), c.Name) {
			if names.Again(c.Name) {
				v.Duplicate(path.Child("name"), c.Name)
			} else {
				v.DNSLabel(path.Child("name"), c.Name)
			}
		}
		switch {
		case c.ResourceClaimName != nil && c.ResourceClaimTemplateName != nil:
			v.Invalid(path, c, "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified")
		case c.ResourceClaimName == nil && c.ResourceClaimTemplateName == nil:
			v.Invalid(path, c, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`")
		}
		if c.ResourceClaimName != nil {
			v.DNSSubdomain(path.Child("resourceClaimName"), *c.ResourceClaimName)
		}
		if c.ResourceClaimTemplateName != nil {
			v.DNSSubdomain(path.Child("resourceClaimTemplateName"), *c.ResourceClaimTemplateName)
		}
	}
}
