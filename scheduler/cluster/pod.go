package cluster

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	resourcehelper "k8s.io/component-helpers/resource"
)

// What a container without requests counts as in scores, so that a hundred of them do not count as nothing.
const (
	guessedMilliCPU = 100
	guessedMemory   = 200 << 20
)

// A Pod is a pod with what scheduling needs of it worked out once.
type Pod struct {
	*corev1.Pod
	Request  Resources // what it takes from a node: containers, init containers, overhead
	NonZero  Resources // CPU and memory with guesses
	Ports    []HostPort
	Affinity Affinity
}

// A HostPort is a port of the node that a pod occupies.
type HostPort struct {
	IP       string // "" and "0.0.0.0" are all addresses; stored as "0.0.0.0"
	Protocol corev1.Protocol
	Port     int32
}

// AnyIP is the address of a port on all addresses.
const AnyIP = "0.0.0.0"

// Affinity holds a pod's inter-pod terms with parsed selectors.
type Affinity struct{ Required, RequiredAnti, Preferred, PreferredAnti []Term }

// A Term says which pods are meant, and in what topology.
type Term struct {
	namespaces        sets.Set[string]
	namespaceSelector labels.Selector
	selector          labels.Selector
	TopologyKey       string
	Weight            int64 // of preferred terms
}

// Matches reports whether a pod is one that the term means.
func (t *Term) Matches(p *Pod, namespaces NamespaceLabels) bool {
	if !t.namespaces.Has(p.Namespace) && (t.namespaceSelector == nil || !t.namespaceSelector.Matches(labels.Set(namespaces(p.Namespace)))) {
		return false
	}
	return t.selector.Matches(labels.Set(p.Labels))
}

func (p *Pod) hasAffinity() bool {
	return len(p.Affinity.Required)+len(p.Affinity.RequiredAnti)+len(p.Affinity.Preferred)+len(p.Affinity.PreferredAnti) > 0
}

// Priority returns the pod's priority.
func (p *Pod) Priority() int32 {
	if p.Spec.Priority != nil {
		return *p.Spec.Priority
	}
	return 0
}

// NewPod works out a pod. Terms whose selector does not parse match nothing: validation refused them long ago.
func NewPod(pod *corev1.Pod) *Pod {
	p := &Pod{Pod: pod}
	options := resourcehelper.PodResourcesOptions{UseStatusResources: pod.Spec.NodeName != ""}
	p.Request = resourcesOf(resourcehelper.PodRequests(pod, options))
	options.NonMissingContainerRequests = guesses
	guessed := resourcehelper.PodRequests(pod, options)
	p.NonZero = Resources{MilliCPU: guessed.Cpu().MilliValue(), Memory: guessed.Memory().Value()}
	for i := range pod.Spec.Containers {
		p.Ports = appendPorts(p.Ports, &pod.Spec.Containers[i])
	}
	for i := range pod.Spec.InitContainers {
		// A sidecar keeps its ports; a plain init container gives them back before the others start.
		if c := &pod.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			p.Ports = appendPorts(p.Ports, c)
		}
	}
	if a := pod.Spec.Affinity; a != nil {
		if a.PodAffinity != nil {
			p.Affinity.Required = required(pod, a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
			p.Affinity.Preferred = preferred(pod, a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
		}
		if a.PodAntiAffinity != nil {
			p.Affinity.RequiredAnti = required(pod, a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
			p.Affinity.PreferredAnti = preferred(pod, a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
		}
	}
	return p
}

var guesses = corev1.ResourceList{
	corev1.ResourceCPU:    *resource.NewMilliQuantity(guessedMilliCPU, resource.DecimalSI),
	corev1.ResourceMemory: *resource.NewQuantity(guessedMemory, resource.BinarySI),
}

func appendPorts(ports []HostPort, c *corev1.Container) []HostPort {
	for _, p := range c.Ports {
		if p.HostPort <= 0 {
			continue
		}
		hp := HostPort{IP: p.HostIP, Protocol: p.Protocol, Port: p.HostPort}
		if hp.IP == "" {
			hp.IP = AnyIP
		}
		if hp.Protocol == "" {
			hp.Protocol = corev1.ProtocolTCP
		}
		ports = append(ports, hp)
	}
	return ports
}

func required(pod *corev1.Pod, terms []corev1.PodAffinityTerm) []Term {
	var out []Term
	for i := range terms {
		out = append(out, newTerm(pod, &terms[i], 0))
	}
	return out
}

func preferred(pod *corev1.Pod, terms []corev1.WeightedPodAffinityTerm) []Term {
	var out []Term
	for i := range terms {
		out = append(out, newTerm(pod, &terms[i].PodAffinityTerm, int64(terms[i].Weight)))
	}
	return out
}

func newTerm(pod *corev1.Pod, t *corev1.PodAffinityTerm, weight int64) Term {
	term := Term{TopologyKey: t.TopologyKey, Weight: weight, namespaces: sets.New(t.Namespaces...), selector: Selector(t.LabelSelector)}
	if t.NamespaceSelector != nil {
		term.namespaceSelector = Selector(t.NamespaceSelector)
	} else if len(t.Namespaces) == 0 {
		term.namespaces.Insert(pod.Namespace)
	}
	return term
}

// Selector parses a label selector; nil and unparsable ones match nothing.
func Selector(s *metav1.LabelSelector) labels.Selector {
	parsed, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing()
	}
	return parsed
}

// Terminal reports whether a pod has ended and holds nothing any more.
func Terminal(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}
