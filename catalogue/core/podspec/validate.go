package podspec

import (
	"math"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/rule"
)

// Options say where a spec stands.
type Options struct {
	Pod          bool // of a pod, not of a template
	LaxSelectors bool // the old object had selector values that no label can have, and may keep them
	LaxAffinity  bool // the same for required node affinity

	// AnySELinuxChange: the old pod had a policy for changing SELinux labels, so that one may stay which is
	// refused otherwise, as mounting with the label is off by default.
	AnySELinuxChange bool
	// RestartToResize: the old pod had an init container that starts again when it is resized, and may keep it.
	RestartToResize bool
}

// OptionsFor says what an update of old may keep; old is nil on create.
func OptionsFor(old *corev1.PodSpec) Options {
	if old == nil {
		return Options{}
	}
	return Options{
		LaxSelectors:     hasLaxSelector(old),
		LaxAffinity:      hasLaxAffinity(old),
		AnySELinuxChange: old.SecurityContext != nil && old.SecurityContext.SELinuxChangePolicy != nil,
		RestartToResize:  slices.ContainsFunc(old.InitContainers, restartsToResize),
	}
}

// validating is one pass over a spec: what the rules for its parts need to know of the whole.
type validating struct {
	*rule.Faults
	Options
	spec    *corev1.PodSpec
	volumes map[string]*corev1.VolumeSource // those that are valid themselves
	meta    *metav1.ObjectMeta              // of the pod; nil for templates
}

// Validate checks the spec of a pod or a template. meta is the pod's, nil for templates.
func Validate(spec *corev1.PodSpec, meta *metav1.ObjectMeta, at *field.Path, o Options) field.ErrorList {
	v := &validating{Faults: &rule.Faults{}, Options: o, spec: spec, meta: meta}
	if spec.TerminationGracePeriodSeconds == nil {
		v.Required(at.Child("terminationGracePeriodSeconds"), "")
	}
	v.checkVolumes(at.Child("volumes"))
	v.anonymousTokens(at.Child("volumes"))
	v.resourceClaims(at.Child("resourceClaims"))
	v.containers(at.Child("containers"))
	v.initContainers(at.Child("initContainers"))
	v.ephemeralContainers(at.Child("ephemeralContainers"))
	podResources(v.Faults, at, spec)
	v.hostPortsOfHostNetwork(at.Child("containers"))
	rule.Choice(v.Faults, at.Child("restartPolicy"), spec.RestartPolicy, corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)
	rule.Choice(v.Faults, at.Child("dnsPolicy"), spec.DNSPolicy, corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone)
	v.Labels(at.Child("nodeSelector"), spec.NodeSelector)
	v.podSecurity(at.Child("securityContext"))
	v.affinity(at.Child("affinity"))
	v.dnsConfig(at.Child("dnsConfig"))
	for i, gate := range spec.ReadinessGates {
		v.QualifiedName(at.Child("readinessGates").Index(i).Child("conditionType"), string(gate.ConditionType))
	}
	v.schedulingGates(at.Child("schedulingGates"))
	v.spread(at.Child("topologySpreadConstraints"))
	v.hostProcess(at)
	v.hostUsers(at)
	v.hostnameOverride(at.Child("hostnameOverride"))
	v.names(at)
	v.tolerations(at.Child("tolerations"), spec.Tolerations)
	v.hostAliases(at.Child("hostAliases"))
	v.classes(at)
	v.operatingSystem(at)
	v.fileKeyVolumes(at)
	return v.List
}

// names checks the fields that name other things.
func (v *validating) names(at *field.Path) {
	subdomain := func(name, value string) {
		if value != "" {
			v.Each(at.Child(name), value, validation.NameIsDNSSubdomain(value, false))
		}
	}
	subdomain("serviceAccountName", v.spec.ServiceAccountName)
	subdomain("nodeName", v.spec.NodeName)
	if d := v.spec.ActiveDeadlineSeconds; d != nil && (*d < 1 || *d > math.MaxInt32) {
		v.Invalid(at.Child("activeDeadlineSeconds"), *d, utilvalidation.InclusiveRangeError(1, math.MaxInt32))
	}
	if v.spec.Hostname != "" {
		v.DNSLabel(at.Child("hostname"), v.spec.Hostname)
	}
	if v.spec.Subdomain != "" {
		v.DNSLabel(at.Child("subdomain"), v.spec.Subdomain)
	}
}

func (v *validating) classes(at *field.Path) {
	if name := v.spec.PriorityClassName; name != "" {
		v.DNSSubdomain(at.Child("priorityClassName"), name)
	}
	if name := v.spec.RuntimeClassName; name != nil {
		v.DNSSubdomain(at.Child("runtimeClassName"), *name)
	}
	if policy := v.spec.PreemptionPolicy; policy != nil {
		rule.Choice(v.Faults, at.Child("preemptionPolicy"), *policy, corev1.PreemptLowerPriority, corev1.PreemptNever)
	}
	if v.spec.Overhead != nil {
		Overhead(v.Faults, v.spec.Overhead, at.Child("overhead"))
	}
	for i, ref := range v.spec.ImagePullSecrets {
		if !reflect.DeepEqual(ref, corev1.LocalObjectReference{Name: ref.Name}) {
			v.Invalid(at.Child("imagePullSecrets").Index(i), ref, "only name may be set")
		}
	}
}

func (v *validating) hostAliases(at *field.Path) {
	for i, alias := range v.spec.HostAliases {
		v.IP(at.Index(i).Child("ip"), alias.IP)
		for j, name := range alias.Hostnames {
			v.DNSSubdomain(at.Index(i).Child("hostnames").Index(j), name)
		}
	}
}

// hostPortsOfHostNetwork: on the host's network a port is where the process listens, nowhere else.
func (v *validating) hostPortsOfHostNetwork(at *field.Path) {
	if !v.spec.HostNetwork {
		return
	}
	for i := range v.spec.Containers {
		for j, p := range v.spec.Containers[i].Ports {
			if (v.Pod || p.HostPort != 0) && p.HostPort != p.ContainerPort {
				v.Invalid(at.Index(i).Child("ports").Index(j).Child("hostPort"), p.HostPort, "must match `containerPort` when `hostNetwork` is true")
			}
		}
	}
}

func (v *validating) hostnameOverride(at *field.Path) {
	name := v.spec.HostnameOverride
	if name == nil {
		return
	}
	if fqdn := v.spec.SetHostnameAsFQDN; fqdn != nil && *fqdn {
		v.Forbidden(at, "may not be specified when setHostnameAsFQDN is true")
	}
	if v.spec.HostNetwork {
		v.Forbidden(at, "may not be specified when hostNetwork is true")
	}
	if len(*name) > 64 {
		v.Add(field.TooLong(at, "", 64))
	}
	v.DNSSubdomain(at, *name)
}

// Limits of name resolution in C libraries.
const (
	maxNameservers = 3
	maxSearches    = 32
	maxSearchChars = 2048
)

func (v *validating) dnsConfig(at *field.Path) {
	c := v.spec.DNSConfig
	if v.spec.DNSPolicy == corev1.DNSNone {
		switch {
		case c == nil:
			v.Required(at, "must provide `dnsConfig` when `dnsPolicy` is None")
			return
		case len(c.Nameservers) == 0:
			v.Required(at.Child("nameservers"), "must provide at least one DNS nameserver when `dnsPolicy` is None")
			return
		}
	}
	if c == nil {
		return
	}
	if len(c.Nameservers) > maxNameservers {
		v.Invalid(at.Child("nameservers"), c.Nameservers, "must not have more than 3 nameservers")
	}
	for i, server := range c.Nameservers {
		v.IP(at.Child("nameservers").Index(i), server)
	}
	if len(c.Searches) > maxSearches {
		v.Invalid(at.Child("searches"), c.Searches, "must not have more than 32 search paths")
	}
	if len(strings.Join(c.Searches, " ")) > maxSearchChars {
		v.Invalid(at.Child("searches"), c.Searches, "must not have more than 2048 characters (including spaces) in the search list")
	}
	for i, search := range c.Searches {
		if search != "." {
			search = strings.TrimSuffix(search, ".")
			v.Each(at.Child("searches").Index(i), search, utilvalidation.IsDNS1123SubdomainWithUnderscore(search))
		}
	}
	for i, option := range c.Options {
		if option.Name == "" {
			v.Required(at.Child("options").Index(i), "must not be empty")
		}
	}
}

// ValidateTemplate checks a pod template: its labels and annotations, and its spec.
func ValidateTemplate(t *corev1.PodTemplateSpec, at *field.Path, o Options) field.ErrorList {
	f := &rule.Faults{}
	f.Labels(at.Child("labels"), t.Labels)
	f.Add(validation.ValidateAnnotations(t.Annotations, at.Child("annotations"))...)
	f.Add(ValidateAnnotations(t.Annotations, &t.Spec, at.Child("annotations"))...)
	f.Add(Validate(&t.Spec, nil, at.Child("spec"), o)...)
	if len(t.Spec.EphemeralContainers) > 0 {
		f.Forbidden(at.Child("spec", "ephemeralContainers"), "ephemeral containers not allowed in pod template")
	}
	return f.List
}
