package authz

import (
	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/api/podrefs"
)

// anyPod reports whether a pod of the node in the namespace ("" for any) satisfies fn. Mirror pods do not
// count: a node makes them itself and could name any secret in them.
func (n *Node) anyPod(node, namespace string, fn func(*corev1.Pod) bool) bool {
	for _, p := range n.pods.ByIndex(api.ByNode, node) {
		if namespace != "" && p.Namespace != namespace {
			continue
		}
		if _, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]; !mirror && fn(p) {
			return true
		}
	}
	return false
}

func (n *Node) runsPod(node, namespace, name string) bool {
	p, ok := n.pods.Get(namespace, name)
	return ok && p.Spec.NodeName == node
}

func (n *Node) usesServiceAccount(node, namespace, name string) bool {
	return n.anyPod(node, namespace, func(p *corev1.Pod) bool { return p.Spec.ServiceAccountName == name })
}

func (n *Node) usesConfigMap(node, namespace, name string) bool {
	return n.anyPod(node, namespace, func(p *corev1.Pod) bool { return podrefs.UsesConfigMap(&p.Spec, name) })
}

func (n *Node) usesSecret(node, namespace, name string) bool {
	if n.anyPod(node, namespace, func(p *corev1.Pod) bool { return podrefs.UsesSecret(&p.Spec, name) }) {
		return true
	}
	return n.anyPod(node, "", func(p *corev1.Pod) bool { return n.volumeUsesSecret(p, namespace, name) })
}

func (n *Node) usesClaim(node, namespace, name string) bool {
	return n.anyPod(node, namespace, func(p *corev1.Pod) bool {
		for i := range p.Spec.Volumes {
			if podrefs.ClaimName(p, &p.Spec.Volumes[i]) == name {
				return true
			}
		}
		return false
	})
}

func (n *Node) usesVolume(node, _, name string) bool {
	pv, ok := n.volumes.Get("", name)
	return ok && pv.Spec.ClaimRef != nil && n.usesClaim(node, pv.Spec.ClaimRef.Namespace, pv.Spec.ClaimRef.Name)
}

func (n *Node) ownsAttachment(node, _, name string) bool {
	va, ok := n.attachments.Get("", name)
	return ok && va.Spec.NodeName == node
}

func (n *Node) ownsSlice(node, _, name string) bool {
	s, ok := n.slices.Get("", name)
	return ok && s.Spec.NodeName != nil && *s.Spec.NodeName == node
}

func (n *Node) podsClaim(node, namespace, name string) bool {
	return n.anyPod(node, namespace, func(p *corev1.Pod) bool {
		for _, rc := range p.Spec.ResourceClaims {
			if rc.ResourceClaimName != nil && *rc.ResourceClaimName == name {
				return true
			}
		}
		for _, st := range p.Status.ResourceClaimStatuses {
			if st.ResourceClaimName != nil && *st.ResourceClaimName == name {
				return true
			}
		}
		ext := p.Status.ExtendedResourceClaimStatus
		return ext != nil && ext.ResourceClaimName == name
	})
}

// volumeUsesSecret reports whether a persistent volume of the pod refers to the secret.
func (n *Node) volumeUsesSecret(p *corev1.Pod, namespace, name string) bool {
	for i := range p.Spec.Volumes {
		claim := podrefs.ClaimName(p, &p.Spec.Volumes[i])
		if claim == "" {
			continue
		}
		pvc, ok := n.claims.Get(p.Namespace, claim)
		if !ok || pvc.Spec.VolumeName == "" {
			continue
		}
		pv, ok := n.volumes.Get("", pvc.Spec.VolumeName)
		if !ok || pv.Spec.ClaimRef == nil || pv.Spec.ClaimRef.Namespace != p.Namespace || pv.Spec.ClaimRef.Name != claim {
			continue
		}
		for _, ref := range volumeSecrets(pv) {
			if ref.Name == name && (ref.Namespace == namespace || ref.Namespace == "" && p.Namespace == namespace) {
				return true
			}
		}
	}
	return false
}

// volumeSecrets lists the secrets that the node plug-in of a volume is given.
func volumeSecrets(pv *corev1.PersistentVolume) (refs []corev1.SecretReference) {
	add := func(ref *corev1.SecretReference) {
		if ref != nil {
			refs = append(refs, *ref)
		}
	}
	if s := pv.Spec.CSI; s != nil {
		add(s.ControllerPublishSecretRef)
		add(s.NodePublishSecretRef)
		add(s.NodeStageSecretRef)
		add(s.NodeExpandSecretRef)
	}
	if s := pv.Spec.ISCSI; s != nil {
		add(s.SecretRef)
	}
	if s := pv.Spec.CephFS; s != nil {
		add(s.SecretRef)
	}
	if s := pv.Spec.RBD; s != nil {
		add(s.SecretRef)
	}
	if s := pv.Spec.FlexVolume; s != nil {
		add(s.SecretRef)
	}
	return refs
}
