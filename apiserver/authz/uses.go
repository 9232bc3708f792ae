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
	return n.volumeUsesSecret(node, namespace, name)
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

// volumeUsesSecret reports whether a persistent volume that is bound to a claim of one of the node's pods gives its
// node plug-in the secret. What counts is whose claim the volume says it is, not which volume the claim names.
func (n *Node) volumeUsesSecret(node, namespace, name string) bool {
	for _, pv := range n.volumes.List("") {
		claim := pv.Spec.ClaimRef
		if claim == nil {
			continue
		}
		for _, ref := range volumeSecrets(pv) {
			if ref.Name == name && ref.Namespace == namespace && n.usesClaim(node, claim.Namespace, claim.Name) {
				return true
			}
		}
	}
	return false
}

// volumeSecrets lists the secrets that the node plug-in of a volume with a claim is given. Those of a CSI driver's controller
// are none of its business.
func volumeSecrets(pv *corev1.PersistentVolume) (refs []corev1.SecretReference) {
	add := func(ref *corev1.SecretReference) {
		if ref != nil {
			refs = append(refs, *ref)
		}
	}
	source := &pv.Spec.PersistentVolumeSource
	switch {
	case source.CSI != nil:
		add(source.CSI.NodePublishSecretRef)
		add(source.CSI.NodeStageSecretRef)
		add(source.CSI.NodeExpandSecretRef)
		return refs
	case source.Cinder != nil:
		add(source.Cinder.SecretRef)
		return refs
	case source.StorageOS != nil:
		if ref := source.StorageOS.SecretRef; ref != nil {
			refs = append(refs, corev1.SecretReference{Namespace: ref.Namespace, Name: ref.Name})
		}
		return refs
	case source.AzureFile != nil:
		refs = append(refs, corev1.SecretReference{Name: source.AzureFile.SecretName})
		if ns := source.AzureFile.SecretNamespace; ns != nil {
			refs[0].Namespace = *ns
		}
	case source.ISCSI != nil:
		add(source.ISCSI.SecretRef)
	case source.CephFS != nil:
		add(source.CephFS.SecretRef)
	case source.RBD != nil:
		add(source.RBD.SecretRef)
	case source.FlexVolume != nil:
		add(source.FlexVolume.SecretRef)
	case source.ScaleIO != nil:
		add(source.ScaleIO.SecretRef)
	}
	for i := range refs {
		if refs[i].Namespace == "" { // that of the claim
			refs[i].Namespace = pv.Spec.ClaimRef.Namespace
		}
	}
	return refs
}
