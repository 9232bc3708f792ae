package fit

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"clipper/api/podrefs"
	"clipper/scheduler/cluster"
)

// Storage looks up what pods store their data on.
type Storage interface {
	Claim(namespace, name string) (*corev1.PersistentVolumeClaim, bool)
	Volume(name string) (*corev1.PersistentVolume, bool)
	Volumes() []*corev1.PersistentVolume
	Class(name string) (*storagev1.StorageClass, bool)
}

// What rejects for want of storage.
const (
	bindingPlugin      = "VolumeBinding"
	restrictionsPlugin = "VolumeRestrictions"
)

const storageWake = cluster.Claims | cluster.Volumes | cluster.Classes

var (
	volumeElsewhere = &Rejection{bindingPlugin, []string{"node(s) didn't match PersistentVolume's node affinity"}, true, cluster.NodeAdded | cluster.NodeLabels | cluster.Volumes}
	noVolume        = &Rejection{bindingPlugin, []string{"node(s) didn't find available persistent volumes to bind"}, true, cluster.NodeAdded | cluster.NodeLabels | storageWake}
	volumeGone      = &Rejection{bindingPlugin, []string{"node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"}, true, storageWake}
	otherZone       = &Rejection{"VolumeZone", []string{"node(s) had no available volume zone"}, true, cluster.NodeAdded | cluster.NodeLabels | storageWake}
	diskInUse       = &Rejection{restrictionsPlugin, []string{"node(s) had no available disk"}, false, cluster.NodeAdded | cluster.PodRemoved}
	oncePodInUse    = &Rejection{restrictionsPlugin, []string{"node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"}, false, cluster.PodRemoved | cluster.Claims}
)

// A volumeState is a pod's volumes, looked up.
type volumeState struct {
	storage Storage
	bound   []*corev1.PersistentVolume
	missing bool // a claim is bound to a volume that is not there
	delayed []delayedClaim
	disks   []string // in-tree disks that one node may attach for one pod only
	oncePod []string // claims of mode ReadWriteOncePod
}

// A delayedClaim is bound only when the pod's node is known.
type delayedClaim struct {
	claim *corev1.PersistentVolumeClaim
	class *storagev1.StorageClass
}

// prepareVolumes returns nil for a pod that no node refuses for its volumes.
func prepareVolumes(pod *corev1.Pod, storage Storage) (*volumeState, *Rejection) {
	s := &volumeState{storage: storage}
	var immediate bool
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if id := exclusiveDisk(v); id != "" {
			s.disks = append(s.disks, id)
		}
		name := podrefs.ClaimName(pod, v)
		if name == "" {
			continue
		}
		claim, err := usableClaim(pod, storage, name, v.Ephemeral != nil)
		if err != nil {
			return nil, &Rejection{bindingPlugin, []string{err.Error()}, true, storageWake}
		}
		unbound, err := s.addClaim(claim)
		if err != nil {
			return nil, &Rejection{bindingPlugin, []string{err.Error()}, true, storageWake}
		}
		immediate = immediate || unbound
	}
	if immediate {
		return nil, &Rejection{bindingPlugin, []string{"pod has unbound immediate PersistentVolumeClaims"}, true, storageWake}
	}
	if len(s.bound)+len(s.delayed)+len(s.disks)+len(s.oncePod) == 0 && !s.missing {
		return nil, nil
	}
	return s, nil
}

func usableClaim(pod *corev1.Pod, storage Storage, name string, ephemeral bool) (*corev1.PersistentVolumeClaim, error) {
	var claim *corev1.PersistentVolumeClaim
	if storage != nil {
		claim, _ = storage.Claim(pod.Namespace, name)
	}
	switch {
	case claim == nil && ephemeral:
		return nil, fmt.Errorf("waiting for ephemeral volume controller to create the persistentvolumeclaim %q", name)
	case claim == nil:
		return nil, fmt.Errorf("persistentvolumeclaim %q not found", name)
	case claim.Status.Phase == corev1.ClaimLost:
		return nil, fmt.Errorf("persistentvolumeclaim %q bound to non-existent persistentvolume %q", claim.Name, claim.Spec.VolumeName)
	case claim.DeletionTimestamp != nil:
		return nil, fmt.Errorf("persistentvolumeclaim %q is being deleted", claim.Name)
	case ephemeral && !metav1.IsControlledBy(claim, pod):
		return nil, fmt.Errorf("PVC %s/%s was not created for pod %s/%s (pod is not owner)", claim.Namespace, claim.Name, pod.Namespace, pod.Name)
	}
	return claim, nil
}

const annBindCompleted = "pv.kubernetes.io/bind-completed"

func (s *volumeState) addClaim(claim *corev1.PersistentVolumeClaim) (unboundImmediate bool, err error) {
	if slices.Contains(claim.Spec.AccessModes, corev1.ReadWriteOncePod) {
		s.oncePod = append(s.oncePod, claim.Name)
	}
	if claim.Spec.VolumeName != "" {
		if _, done := claim.Annotations[annBindCompleted]; !done && claim.Status.Phase != corev1.ClaimBound {
			return true, nil
		}
		volume, ok := s.storage.Volume(claim.Spec.VolumeName)
		if !ok {
			s.missing = true
			return false, nil
		}
		s.bound = append(s.bound, volume)
		return false, nil
	}
	class, ok := s.storage.Class(className(claim))
	if !ok || class.VolumeBindingMode == nil || *class.VolumeBindingMode != storagev1.VolumeBindingWaitForFirstConsumer {
		return true, nil
	}
	s.delayed = append(s.delayed, delayedClaim{claim, class})
	return false, nil
}

func className(claim *corev1.PersistentVolumeClaim) string {
	if c, ok := claim.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		return c
	}
	if claim.Spec.StorageClassName != nil {
		return *claim.Spec.StorageClassName
	}
	return ""
}

func (s *volumeState) check(pod *corev1.Pod, n *cluster.Node) *Rejection {
	for _, other := range n.Pods {
		if s.sharesDisk(other) {
			return diskInUse
		}
		if s.sharesOncePod(pod, other) {
			return oncePodInUse
		}
	}
	if s.missing {
		return volumeGone
	}
	for _, v := range s.bound {
		if !volumeOn(v, n.Node) {
			return volumeElsewhere
		}
	}
	if len(s.delayed) > 0 {
		if _, ok := s.choose(n.Node); !ok {
			return noVolume
		}
	}
	for _, v := range s.bound {
		if !inZone(v, n.Node) {
			return otherZone
		}
	}
	return nil
}

func (s *volumeState) sharesDisk(other *cluster.Pod) bool {
	if len(s.disks) == 0 {
		return false
	}
	for i := range other.Spec.Volumes {
		if id := exclusiveDisk(&other.Spec.Volumes[i]); id != "" && slices.Contains(s.disks, id) {
			return true
		}
	}
	return false
}

func (s *volumeState) sharesOncePod(pod *corev1.Pod, other *cluster.Pod) bool {
	if len(s.oncePod) == 0 || other.Namespace != pod.Namespace {
		return false
	}
	for i := range other.Spec.Volumes {
		if name := podrefs.ClaimName(other.Pod, &other.Spec.Volumes[i]); name != "" && slices.Contains(s.oncePod, name) {
			return true
		}
	}
	return false
}

// exclusiveDisk identifies a disk of the old in-tree kinds that cannot be attached twice on a node.
func exclusiveDisk(v *corev1.Volume) string {
	switch {
	case v.AWSElasticBlockStore != nil:
		return "aws/" + v.AWSElasticBlockStore.VolumeID
	case v.GCEPersistentDisk != nil && !v.GCEPersistentDisk.ReadOnly:
		return "gce/" + v.GCEPersistentDisk.PDName
	}
	return ""
}

func volumeOn(v *corev1.PersistentVolume, n *corev1.Node) bool {
	if v.Spec.NodeAffinity == nil || v.Spec.NodeAffinity.Required == nil {
		return true
	}
	ok, err := nodeaffinity.NewLazyErrorNodeSelector(v.Spec.NodeAffinity.Required).Match(n)
	return ok && err == nil
}

var zoneLabels = []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion}

// inZone honours the zone labels of volumes made before volumes had node affinity. A node without any zone
// is in a cluster without zones.
func inZone(v *corev1.PersistentVolume, n *corev1.Node) bool {
	if !slices.ContainsFunc(zoneLabels, func(k string) bool { _, ok := n.Labels[k]; return ok }) {
		return true
	}
	for _, k := range zoneLabels {
		if zones, ok := v.Labels[k]; ok && !slices.Contains(strings.Split(zones, "__"), n.Labels[k]) {
			return false
		}
	}
	return true
}

// A Binding says how a delayed claim is served on a node: by a volume that is there, or by one that the
// class's provisioner makes when told the node.
type Binding struct {
	Claim  *corev1.PersistentVolumeClaim
	Volume *corev1.PersistentVolume // nil: provision
}

// Bindings returns how the pod's delayed claims are served on a node for which Check returned nil.
func (r *Request) Bindings(n *cluster.Node) []Binding {
	if r.volumes == nil {
		return nil
	}
	bindings, _ := r.volumes.choose(n.Node)
	return bindings
}

const noProvisioner = "kubernetes.io/no-provisioner"

func (s *volumeState) choose(n *corev1.Node) ([]Binding, bool) {
	var out []Binding
	for _, d := range s.delayed {
		if v := s.smallest(d, n, out); v != nil {
			out = append(out, Binding{d.claim, v})
			continue
		}
		if d.class.Provisioner == noProvisioner || d.class.Provisioner == "" || !topologyAllowed(d.class, n) {
			return nil, false
		}
		out = append(out, Binding{Claim: d.claim})
	}
	return out, true
}

// smallest finds the smallest volume that serves the claim on the node and is not chosen for another.
func (s *volumeState) smallest(d delayedClaim, n *corev1.Node, taken []Binding) *corev1.PersistentVolume {
	var best *corev1.PersistentVolume
	for _, v := range s.storage.Volumes() {
		if slices.ContainsFunc(taken, func(b Binding) bool { return b.Volume == v }) || !serves(v, d.claim) || !volumeOn(v, n) {
			continue
		}
		if ref := v.Spec.ClaimRef; ref != nil {
			return v // reserved for this claim
		}
		if best == nil || capacity(v) < capacity(best) {
			best = v
		}
	}
	return best
}

func capacity(v *corev1.PersistentVolume) int64 {
	q := v.Spec.Capacity[corev1.ResourceStorage]
	return q.Value()
}

func serves(v *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) bool {
	if ref := v.Spec.ClaimRef; ref != nil {
		return ref.Namespace == claim.Namespace && ref.Name == claim.Name && (ref.UID == "" || ref.UID == claim.UID)
	}
	if v.Status.Phase != corev1.VolumeAvailable || v.DeletionTimestamp != nil || v.Spec.StorageClassName != className(claim) {
		return false
	}
	want := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	if capacity(v) < want.Value() || mode(v.Spec.VolumeMode) != mode(claim.Spec.VolumeMode) {
		return false
	}
	if claim.Spec.Selector != nil && !cluster.Selector(claim.Spec.Selector).Matches(labels.Set(v.Labels)) {
		return false
	}
	for _, m := range claim.Spec.AccessModes {
		if !slices.Contains(v.Spec.AccessModes, m) {
			return false
		}
	}
	return true
}

func mode(m *corev1.PersistentVolumeMode) corev1.PersistentVolumeMode {
	if m == nil {
		return corev1.PersistentVolumeFilesystem
	}
	return *m
}

func topologyAllowed(class *storagev1.StorageClass, n *corev1.Node) bool {
	if len(class.AllowedTopologies) == 0 {
		return true
	}
	return slices.ContainsFunc(class.AllowedTopologies, func(t corev1.TopologySelectorTerm) bool {
		return !slices.ContainsFunc(t.MatchLabelExpressions, func(e corev1.TopologySelectorLabelRequirement) bool {
			return !slices.Contains(e.Values, n.Labels[e.Key])
		})
	})
}
