// Package status tells the cluster about the node: that it exists, what it has, that it is alive. It
// registers the Node object, renews the node's lease and reports conditions, in the words of a v1.36 kubelet.
package status

import (
	"cmp"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/utils/ptr"

	"clipper/node/reserve"
	"clipper/node/runtime"
)

// Versions that the node reports.
const KubeletVersion = "v1.36.3"

// maxNames bounds the names of one image in a node's status. Upstream's figure.
const maxNames = 5

// Facts are what a node's status is made of.
type Facts struct {
	Name        string
	IPs         []netip.Addr // primary first
	Hostname    string
	Labels      map[string]string
	Annotations map[string]string
	Taints      []corev1.Taint
	ProviderID  string
	// AttachesVolumes says that the node does so itself: the controller is to leave its volumes alone.
	AttachesVolumes bool
	PodCIDRs        []string // that the node has had already, when it comes back
	Unschedulable   bool
	Port            int32 // of the node's own HTTPS server
	MaxPods         int64
	MaxImages       int32 // in the list of images; -1 for all
	Machine         Machine
	RuntimeVersion  string // clipper://v…
	Runtime         runtime.Features
	Reserved        corev1.ResourceList
	SharedDisk      bool // pods are not kept apart on the node's disk, so they cannot ask for parts of it

	Images   []runtime.Image
	Pressure Pressure
	// NotReady explains why pods cannot be run, by what cannot; empty when they can.
	NotReady map[Part]string
	// Settling: the agent has just started, and does not know yet whether the node is ready. A node that was
	// counts as ready on: its pods have not noticed anything, and their services must not either.
	Settling bool
}

// A Part is something without which a node is not ready.
type Part int

// The parts, in the order in which a node names those that fail.
const (
	Runtime Part = iota
	Network
	Storage
	Shutdown
	parts
)

// Capacity returns all that the node has.
func (f *Facts) Capacity() corev1.ResourceList {
	c := corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewQuantity(int64(f.Machine.CPUs), resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(f.Machine.Memory/1024*1024, resource.BinarySI),
		corev1.ResourcePods:   *resource.NewQuantity(f.MaxPods, resource.DecimalSI),
	}
	if !f.SharedDisk {
		c[corev1.ResourceEphemeralStorage] = *resource.NewQuantity(f.Machine.Disk, resource.BinarySI)
	}
	for size, bytes := range f.Machine.HugePages {
		c[corev1.ResourceName(corev1.ResourceHugePagesPrefix+size)] = *resource.NewQuantity(bytes, resource.BinarySI)
	}
	return c
}

// Allocatable returns what pods may use: all but what is reserved, which is also what eviction keeps free.
func (f *Facts) Allocatable() corev1.ResourceList {
	return reserve.Allocatable(f.Capacity(), f.Reserved)
}

// Object returns the Node as it is registered.
func (f *Facts) Object(now time.Time) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: f.Name, Labels: f.labels(), Annotations: f.annotations()}}
	n.Spec.Taints = slices.Clone(f.Taints)
	n.Spec.Unschedulable = f.Unschedulable
	n.Spec.ProviderID = f.ProviderID
	if len(f.PodCIDRs) > 0 {
		n.Spec.PodCIDR, n.Spec.PodCIDRs = f.PodCIDRs[0], slices.Clone(f.PodCIDRs)
	}
	n.Status = f.Status(n, now)
	return n
}

func (f *Facts) labels() map[string]string {
	l := map[string]string{
		corev1.LabelHostname: f.Hostname, corev1.LabelOSStable: f.Machine.Info.OperatingSystem,
		corev1.LabelArchStable:  f.Machine.Info.Architecture,
		"beta.kubernetes.io/os": f.Machine.Info.OperatingSystem, "beta.kubernetes.io/arch": f.Machine.Info.Architecture,
	}
	maps.Copy(l, f.Labels)
	return l
}

// attachAnnotation says that volumes of the node are attached by the controller, not by the node.
const attachAnnotation = "volumes.kubernetes.io/controller-managed-attach-detach"

func (f *Facts) annotations() map[string]string {
	a := map[string]string{}
	if !f.AttachesVolumes {
		a[attachAnnotation] = "true"
	}
	maps.Copy(a, f.Annotations)
	return a
}

// extended reports whether a resource is one that the cluster's users made up.
func extended(name corev1.ResourceName) bool {
	return strings.Contains(string(name), "/") && !strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

// Status derives the node's status at the time now. It keeps of n's what others own, and the transition
// times of conditions that stay as they are.
func (f *Facts) Status(n *corev1.Node, now time.Time) corev1.NodeStatus {
	s := *n.Status.DeepCopy()
	s.Capacity, s.Allocatable = f.Capacity(), f.Allocatable()
	for name, q := range n.Status.Capacity {
		// Extended resources are an administrator's or a device plugin's to count.
		if extended(name) {
			s.Capacity[name], s.Allocatable[name] = q.DeepCopy(), q.DeepCopy()
		}
	}
	s.Addresses = nil
	for _, ip := range f.IPs {
		s.Addresses = append(s.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip.String()})
	}
	s.Addresses = append(s.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: f.Hostname})
	s.DaemonEndpoints.KubeletEndpoint.Port = f.Port
	s.NodeInfo = f.Machine.Info
	s.NodeInfo.KubeletVersion, s.NodeInfo.ContainerRuntimeVersion = KubeletVersion, f.RuntimeVersion
	s.Features = &corev1.NodeFeatures{SupplementalGroupsPolicy: ptr.To(f.Runtime.SupplementalGroupsPolicy)}
	s.RuntimeHandlers = f.handlers()
	s.DeclaredFeatures = declaredFeatures(f.Runtime)
	s.Images = f.images()
	for _, c := range f.conditions() {
		if c.Type == corev1.NodeReady && f.Settling && wasReady(&n.Status) && n.Status.NodeInfo.BootID == s.NodeInfo.BootID {
			continue
		}
		setCondition(&s, c, now)
	}
	return s
}

func (f *Facts) images() []corev1.ContainerImage {
	out := make([]corev1.ContainerImage, 0, len(f.Images))
	for _, i := range f.Images {
		if names := slices.Concat(i.Digests, i.Tags); len(names) > 0 {
			out = append(out, corev1.ContainerImage{Names: names[:min(len(names), maxNames)], SizeBytes: i.Size})
		}
	}
	slices.SortFunc(out, func(a, b corev1.ContainerImage) int {
		return cmp.Or(cmp.Compare(b.SizeBytes, a.SizeBytes), cmp.Compare(a.Names[0], b.Names[0]))
	})
	if f.MaxImages >= 0 {
		out = out[:min(len(out), int(f.MaxImages))]
	}
	return out
}

// handlers returns what the runtime's handlers can do; the one without a name is the default.
func (f *Facts) handlers() []corev1.NodeRuntimeHandler {
	out := make([]corev1.NodeRuntimeHandler, 0, len(f.Runtime.Handlers))
	for _, h := range f.Runtime.Handlers {
		out = append(out, corev1.NodeRuntimeHandler{Name: h.Name, Features: &corev1.NodeRuntimeHandlerFeatures{
			RecursiveReadOnlyMounts: ptr.To(h.RecursiveReadOnlyMounts), UserNamespaces: ptr.To(h.UserNamespaces)}})
	}
	return out
}

// notReady joins the reasons why pods cannot be run, as the library of errors joins several.
func (f *Facts) notReady() string {
	var faults []error
	for p := range parts {
		if why := f.NotReady[p]; why != "" {
			faults = append(faults, errors.New(why))
		}
	}
	if len(faults) == 0 {
		return ""
	}
	return utilerrors.NewAggregate(faults).Error()
}

func (f *Facts) conditions() []corev1.NodeCondition {
	pick := func(t corev1.NodeConditionType, bad bool, badReason, badMessage, reason, message string) corev1.NodeCondition {
		if bad {
			return corev1.NodeCondition{Type: t, Status: corev1.ConditionTrue, Reason: badReason, Message: badMessage}
		}
		return corev1.NodeCondition{Type: t, Status: corev1.ConditionFalse, Reason: reason, Message: message}
	}
	ready := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue,
		Reason: "KubeletReady", Message: "kubelet is posting ready status"}
	if why := f.notReady(); why != "" {
		ready.Status, ready.Reason, ready.Message = corev1.ConditionFalse, "KubeletNotReady", why
	}
	return []corev1.NodeCondition{
		pick(corev1.NodeMemoryPressure, f.Pressure.Memory, "KubeletHasInsufficientMemory", "kubelet has insufficient memory available",
			"KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
		pick(corev1.NodeDiskPressure, f.Pressure.Disk, "KubeletHasDiskPressure", "kubelet has disk pressure",
			"KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
		pick(corev1.NodePIDPressure, f.Pressure.PIDs, "KubeletHasInsufficientPID", "kubelet has insufficient PID available",
			"KubeletHasSufficientPID", "kubelet has sufficient PID available"),
		ready,
	}
}
