package attachdetach

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	csitranslation "k8s.io/csi-translation-lib"
	"k8s.io/klog/v2"

	"clipper/api"
	"clipper/api/attachment"
	"clipper/api/podrefs"
	"clipper/controllers/owner"
)

// managed is what nodes say that leave attaching to this controller: all but very old ones.
const managed = "volumes.kubernetes.io/controller-managed-attach-detach"

// A volume is what pods want attached. pv may be one that stands in a pod, translated from an in-tree kind.
type volume struct {
	name   corev1.UniqueVolumeName
	pv     *corev1.PersistentVolume
	inline bool
	sites  map[string]*site // by node
}

// shared reports whether several nodes may have the volume at once.
func (v *volume) shared() bool {
	if v.pv == nil {
		return true
	}
	modes := v.pv.Spec.AccessModes
	return len(modes) == 0 || slices.Contains(modes, corev1.ReadWriteMany) || slices.Contains(modes, corev1.ReadOnlyMany)
}

// sorted returns the volume's sites in the order of the nodes' names.
func (v *volume) sorted() []site {
	out := make([]site, 0, len(v.sites))
	for _, name := range slices.Sorted(maps.Keys(v.sites)) {
		out = append(out, *v.sites[name])
	}
	return out
}

// A world is all that there is to decide about.
type world struct {
	client  api.Client
	volumes map[corev1.UniqueVolumeName]*volume
	names   map[string]corev1.UniqueVolumeName // of the attachments' volumes
}

// look puts the world together from the pods that may want something attached. known are the names of attachments'
// volumes from before: a volume's object may be gone.
func look(c api.Client, pods []owner.Key, known map[string]corev1.UniqueVolumeName) *world {
	w := &world{client: c, volumes: map[corev1.UniqueVolumeName]*volume{}, names: map[string]corev1.UniqueVolumeName{}}
	nodes := api.Nodes.View(c)
	for _, k := range pods {
		pod, ok := api.Pods.View(c).Get(k.Namespace, k.Name)
		if !ok || pod.Spec.NodeName == "" || over(pod) {
			continue
		}
		if n, ok := nodes.Get("", pod.Spec.NodeName); ok && n.Annotations[managed] == "true" {
			w.addPod(pod)
		}
	}
	for _, a := range api.VolumeAttachments.View(c).List("") {
		w.addAttachment(a, known)
	}
	for _, n := range nodes.List("") {
		w.addNode(n)
	}
	return w
}

// over reports whether a pod has no use for its volumes any more.
func over(pod *corev1.Pod) bool {
	if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return true
	}
	return pod.DeletionTimestamp != nil && !slices.ContainsFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool {
		return s.State.Terminated == nil && s.State.Waiting == nil
	})
}

func (w *world) site(name corev1.UniqueVolumeName, node string) (*volume, *site) {
	v := w.volumes[name]
	if v == nil {
		v = &volume{name: name, sites: map[string]*site{}}
		w.volumes[name] = v
	}
	s := v.sites[node]
	if s == nil {
		s = &site{node: node}
		v.sites[node] = s
	}
	return v, s
}

func (w *world) addPod(pod *corev1.Pod) {
	for i := range pod.Spec.Volumes {
		pv, inline := w.resolve(pod, &pod.Spec.Volumes[i])
		if pv == nil || !w.attachable(pv.Spec.CSI.Driver) {
			continue
		}
		v, s := w.site(attachment.Volume(pv.Spec.CSI.Driver, pv.Spec.CSI.VolumeHandle), pod.Spec.NodeName)
		v.pv, v.inline = pv, inline
		s.pods = append(s.pods, pod)
	}
}

// attachable reports whether a driver's volumes need to be attached; those of an unknown driver do.
func (w *world) attachable(driver string) bool {
	d, ok := api.CSIDrivers.View(w.client).Get("", driver)
	return !ok || d.Spec.AttachRequired == nil || *d.Spec.AttachRequired
}

// resolve returns the CSI volume behind a pod's volume, nil if it is none, or not bound yet.
func (w *world) resolve(pod *corev1.Pod, v *corev1.Volume) (pv *corev1.PersistentVolume, inline bool) {
	translate := csitranslation.New()
	if translate.IsInlineMigratable(v) {
		pv, err := translate.TranslateInTreeInlineVolumeToCSI(klog.Background(), v, pod.Namespace)
		if err != nil {
			return nil, true
		}
		return pv, true
	}
	name := podrefs.ClaimName(pod, v)
	if name == "" {
		return nil, false
	}
	claim, ok := api.PersistentVolumeClaims.View(w.client).Get(pod.Namespace, name)
	if !ok || claim.Status.Phase != corev1.ClaimBound || claim.Spec.VolumeName == "" || (v.Ephemeral != nil && !metav1.IsControlledBy(claim, pod)) {
		return nil, false
	}
	pv, ok = api.PersistentVolumes.View(w.client).Get("", claim.Spec.VolumeName)
	if !ok || pv.Spec.ClaimRef == nil || pv.Spec.ClaimRef.UID != claim.UID {
		return nil, false
	}
	return translated(pv), false
}

// translated returns the CSI form of a volume, nil if it has none.
func translated(pv *corev1.PersistentVolume) *corev1.PersistentVolume {
	if translate := csitranslation.New(); translate.IsPVMigratable(pv) {
		out, err := translate.TranslateInTreePVToCSI(klog.Background(), pv)
		if err != nil {
			return nil
		}
		pv = out
	}
	if pv.Spec.CSI == nil {
		return nil
	}
	return pv
}

// addAttachment notes an attachment of the kind that this controller makes; others are their makers'.
func (w *world) addAttachment(a *storagev1.VolumeAttachment, known map[string]corev1.UniqueVolumeName) {
	name, pv := known[a.Name], w.attachedVolume(a)
	if pv != nil {
		name = attachment.Volume(pv.Spec.CSI.Driver, pv.Spec.CSI.VolumeHandle)
		if attachment.Name(a.Spec.Attacher, pv.Spec.CSI.VolumeHandle, a.Spec.NodeName) != a.Name {
			return
		}
	}
	if name == "" {
		return
	}
	w.names[a.Name] = name
	v, s := w.site(name, a.Spec.NodeName)
	s.attachment = a
	if v.pv == nil {
		v.pv, v.inline = pv, a.Spec.Source.InlineVolumeSpec != nil
	}
}

func (w *world) attachedVolume(a *storagev1.VolumeAttachment) *corev1.PersistentVolume {
	switch src := a.Spec.Source; {
	case src.InlineVolumeSpec != nil && src.InlineVolumeSpec.CSI != nil:
		return &corev1.PersistentVolume{Spec: *src.InlineVolumeSpec}
	case src.PersistentVolumeName != nil:
		if pv, ok := api.PersistentVolumes.View(w.client).Get("", *src.PersistentVolumeName); ok {
			return translated(pv)
		}
	}
	return nil
}

// addNode notes what a node has been told to be attached, and what it uses.
func (w *world) addNode(n *corev1.Node) {
	for _, a := range n.Status.VolumesAttached {
		if strings.HasPrefix(string(a.Name), attachment.Prefix) {
			_, s := w.site(a.Name, n.Name)
			s.reported = true
		}
	}
	for _, name := range n.Status.VolumesInUse {
		if v := w.volumes[name]; v != nil && v.sites[n.Name] != nil {
			v.sites[n.Name].inUse = true
		}
	}
	for _, v := range w.volumes {
		if s := v.sites[n.Name]; s != nil {
			s.exists, s.ready, s.outOfService = true, ready(n), outOfService(n)
		}
	}
}

func ready(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

func outOfService(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
}

// sorted returns the volumes in the order of their names.
func (w *world) sorted() []*volume {
	return slices.SortedFunc(maps.Values(w.volumes), func(a, b *volume) int { return cmp.Compare(a.name, b.name) })
}
