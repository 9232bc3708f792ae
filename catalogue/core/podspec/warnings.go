package podspec

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/rule"
)

// Warnings are what to say of a new pod: at is where its metadata and spec are, nil for a pod's own.
func Warnings(meta *metav1.ObjectMeta, spec *corev1.PodSpec, at *field.Path) []string {
	n := &notes{Notes: &rule.Notes{}, meta: at.Child("metadata"), spec: at.Child("spec"), annotations: meta.Annotations, template: at != nil}
	n.labels(spec)
	n.oldAnnotations()
	n.volumes(spec.Volumes)
	n.overlaps(spec.Volumes)
	n.lists(spec)
	n.fractions(n.spec.Child("overhead"), spec.Overhead)
	n.seccomp(spec)
	EachContainerAt(spec, n.spec, func(c *corev1.Container, at *field.Path) { n.container(spec, c, at) })
	n.ports(spec)
	n.portNames(spec)
	if g := spec.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		n.At(n.spec.Child("terminationGracePeriodSeconds"), "must be >= 0; negative values are invalid and will be treated as 1")
	}
	n.affinity(spec.Affinity)
	if spec.DNSConfig != nil {
		for i, server := range spec.DNSConfig.Nameservers {
			n.IP(n.spec.Child("dnsConfig", "nameservers").Index(i), server)
		}
	}
	for i, alias := range spec.HostAliases {
		n.IP(n.spec.Child("hostAliases").Index(i).Child("ip"), alias.IP)
	}
	return n.List
}

// TemplateWarnings are what to say of a pod template; none of an absent one.
func TemplateWarnings(t *corev1.PodTemplateSpec, at *field.Path) []string {
	if t == nil {
		return nil
	}
	return Warnings(&t.ObjectMeta, &t.Spec, at)
}

type notes struct {
	*rule.Notes
	meta, spec  *field.Path
	annotations map[string]string
	template    bool
}

// labels notes node labels of old, and selectors that select nothing.
func (n *notes) labels(spec *corev1.PodSpec) {
	for _, label := range slices.Sorted(maps.Keys(spec.NodeSelector)) {
		n.NodeLabel(n.spec.Child("nodeSelector").Key(label), label, false)
	}
	if spec.Affinity != nil && spec.Affinity.NodeAffinity != nil {
		a, at := spec.Affinity.NodeAffinity, n.spec.Child("affinity", "nodeAffinity")
		if r := a.RequiredDuringSchedulingIgnoredDuringExecution; r != nil {
			for i, term := range r.NodeSelectorTerms {
				n.nodeTerm(term, at.Child("requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms").Index(i), false)
			}
		}
		for i, term := range a.PreferredDuringSchedulingIgnoredDuringExecution {
			n.nodeTerm(term.Preference, at.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("preference"), true)
		}
	}
	for i, c := range spec.TopologySpreadConstraints {
		at := n.spec.Child("topologySpreadConstraints").Index(i)
		n.NodeLabel(at.Child("topologyKey"), c.TopologyKey, true)
		n.selector(at.Child("labelSelector"), c.LabelSelector)
	}
}

func (n *notes) nodeTerm(t corev1.NodeSelectorTerm, at *field.Path, values bool) {
	for i, e := range t.MatchExpressions {
		at := at.Child("matchExpressions").Index(i)
		n.NodeLabel(at.Child("key"), e.Key, true)
		if !values {
			continue
		}
		for j, v := range e.Values {
			for _, fault := range validation.IsValidLabelValue(v) {
				n.At(at.Child("values").Index(j), "%s is invalid, %s", v, fault)
			}
		}
	}
}

func (n *notes) selector(at *field.Path, s *metav1.LabelSelector) {
	if s == nil {
		n.At(at, "a null labelSelector results in matching no pod")
	}
}

func (n *notes) affinity(a *corev1.Affinity) {
	if a == nil {
		return
	}
	both := func(name string, required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		at := n.spec.Child("affinity", name)
		for i, t := range required {
			n.selector(at.Child("requiredDuringSchedulingIgnoredDuringExecution").Index(i).Child("labelSelector"), t.LabelSelector)
		}
		for i, t := range preferred {
			n.selector(at.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("podAffinityTerm", "labelSelector"),
				t.PodAffinityTerm.LabelSelector)
		}
	}
	if p := a.PodAffinity; p != nil {
		both("podAffinity", p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if p := a.PodAntiAffinity; p != nil {
		both("podAntiAffinity", p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
}

func (n *notes) oldAnnotations() {
	for _, old := range []struct{ key, advice string }{
		{"scheduler.alpha.kubernetes.io/critical-pod", `non-functional in v1.16+; use the "priorityClassName" field instead`},
		{"security.alpha.kubernetes.io/sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
		{"security.alpha.kubernetes.io/unsafe-sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
	} {
		if _, ok := n.annotations[old.key]; ok {
			n.At(n.meta.Child("annotations").Key(old.key), "%s", old.advice)
		}
	}
}

// lists notes entries that count for nothing.
func (n *notes) lists(spec *corev1.PodSpec) {
	rule.Duplicate(n.Notes, n.spec.Child("hostAliases"), spec.HostAliases, "ip", "duplicate ip",
		func(a corev1.HostAlias) string { return a.IP })
	secrets := n.spec.Child("imagePullSecrets")
	rule.Duplicate(n.Notes, secrets, spec.ImagePullSecrets, "name", "duplicate name",
		func(s corev1.LocalObjectReference) string { return s.Name })
	for i, s := range spec.ImagePullSecrets {
		if s.Name == "" {
			n.At(secrets.Index(i).Child("name"), "invalid empty name %q", s.Name)
		}
	}
}

// fractions notes parts of bytes.
func (n *notes) fractions(at *field.Path, list corev1.ResourceList) {
	for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if q, ok := list[name]; ok && q.MilliValue()%1000 != 0 {
			n.At(at.Key(string(name)), "fractional byte value %q is invalid, must be an integer", q.String())
		}
	}
}

func (n *notes) seccomp(spec *corev1.PodSpec) {
	if spec.SecurityContext == nil || spec.SecurityContext.SeccompProfile == nil {
		n.seccompAnnotation(corev1.SeccompPodAnnotationKey)
	}
}

func (n *notes) seccompAnnotation(key string) {
	if _, ok := n.annotations[key]; ok {
		n.At(n.meta.Child("annotations").Key(key), `non-functional in v1.27+; use the "seccompProfile" field instead`)
	}
}

func (n *notes) container(spec *corev1.PodSpec, c *corev1.Container, at *field.Path) {
	if c.SecurityContext == nil || c.SecurityContext.SeccompProfile == nil {
		n.seccompAnnotation(corev1.SeccompContainerAnnotationKeyPrefix + c.Name)
	}
	n.appArmor(spec, c)
	for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		for _, part := range []struct {
			name string
			list corev1.ResourceList
		}{{"limits", c.Resources.Limits}, {"requests", c.Resources.Requests}} {
			if q, ok := part.list[name]; ok {
				n.fractions(at.Child("resources", part.name), corev1.ResourceList{name: q})
			}
		}
	}
	n.env(c.Env, at.Child("env"))
}

// env notes variables that hide earlier ones, unless they build on them.
func (n *notes) env(list []corev1.EnvVar, at *field.Path) {
	seen := make(map[string]bool, len(list))
	for i, v := range list {
		if !seen[v.Name] {
			seen[v.Name] = true
			continue
		}
		ref := "$(" + v.Name + ")"
		if v.ValueFrom != nil || v.Value == ref || !strings.Contains(v.Value, ref) {
			n.At(at.Index(i), "hides previous definition of %q, which may be dropped when using apply", v.Name)
		}
	}
}

// ports notes ports of one pod that get in each other's way.
func (n *notes) ports(spec *corev1.PodSpec) {
	type place struct {
		at   *field.Path
		port corev1.ContainerPort
	}
	taken := map[string][]place{}
	EachContainerAt(spec, n.spec, func(c *corev1.Container, at *field.Path) {
		for i, p := range c.Ports {
			here := place{at.Child("ports").Index(i), p}
			if p.HostIP != "" && p.HostPort == 0 {
				n.At(here.at, "hostIP set without hostPort: %+v", p)
			}
			key := strconv.Itoa(int(p.ContainerPort)) + "/" + string(p.Protocol)
			for _, other := range taken[key] {
				if how := clash(p, other.port); how != "" {
					n.At(here.at, "%s port definition with %s", how, other.at)
				}
			}
			taken[key] = append(taken[key], here)
		}
	})
}

// clash says how two ports of the same number and protocol get in each other's way.
func clash(a, b corev1.ContainerPort) string {
	switch {
	case a.HostIP == b.HostIP && a.HostPort == b.HostPort:
		return "duplicate"
	case a.HostPort == 0 || b.HostPort == 0:
		return "overlapping"
	case a.HostPort == b.HostPort && (a.HostIP == "") != (b.HostIP == ""):
		return "dangerously ambiguous"
	}
	return ""
}

func (n *notes) portNames(spec *corev1.PodSpec) {
	taken := map[string]*field.Path{}
	EachContainerAt(spec, n.spec, func(c *corev1.Container, at *field.Path) {
		for i, p := range c.Ports {
			here := at.Child("ports").Index(i)
			if p.Name == "" {
				continue
			}
			if other, ok := taken[p.Name]; ok {
				n.At(here, "duplicate port name %q with %s, services and probes that select ports by name will use %s", p.Name, other, other)
			} else {
				taken[p.Name] = here
			}
		}
	})
}

// OwnerWarnings are what to say of an object that makes pods of a template, when it is new (old is nil) or its
// generation changed. named: the pods' names derive from its own.
func OwnerWarnings(meta, old *metav1.ObjectMeta, t *corev1.PodTemplateSpec, at *field.Path, named bool) []string {
	if old != nil && old.Generation == meta.Generation {
		return nil
	}
	n := &rule.Notes{}
	if old == nil && named {
		n.PodNames(meta.Name)
	}
	return append(n.List, TemplateWarnings(t, at)...)
}

// MetaOf is the metadata of an object that may be nil.
func MetaOf[T any, P interface {
	*T
	GetObjectMeta() metav1.Object
}](o P) *metav1.ObjectMeta {
	if o == nil {
		return nil
	}
	return o.GetObjectMeta().(*metav1.ObjectMeta)
}
