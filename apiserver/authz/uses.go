package authz

import (
	corev1 "k8s.io/api/core/v1"

	"clipper/api"
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
	return n.anyPod(node, namespace, func(p *corev1.Pod) bool { return podUsesConfigMap(&p.Spec, name) })
}

func (n *Node) usesSecret(node, namespace, name string) bool {
	if n.anyPod(node, namespace, func(p *corev1.Pod) bool { return podUsesSecret(&p.Spec, name) }) {
		return true
	}
	return n.anyPod(node, "", func(p *corev1.Pod) bool { return n.volumeUsesSecret(p, namespace, name) })
}

func (n *Node) usesClaim(node, namespace, name string) bool {
	return n.anyPod(node, namespace, func(p *corev1.Pod) bool {
		for i := range p.Spec.Volumes {
			if claimName(p, &p.Spec.Volumes[i]) == name {
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

// claimName returns the claim that a pod's volume stands for, "" for none.
func claimName(p *corev1.Pod, v *corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return p.Name + "-" + v.Name
	}
	return ""
}

// volumeUsesSecret reports whether a persistent volume of the pod refers to the secret.
func (n *Node) volumeUsesSecret(p *corev1.Pod, namespace, name string) bool {
	for i := range p.Spec.Volumes {
		claim := claimName(p, &p.Spec.Volumes[i])
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

// A match says whether a reference by name is the one looked for.
type match func(name string) bool

func exactly(want string) match { return func(name string) bool { return name == want } }

func whatever(string) bool { return true }

// PodUsesAnySecret reports whether a pod names any secret.
func PodUsesAnySecret(spec *corev1.PodSpec) bool { return podNamesSecret(spec, whatever) }

// PodUsesAnyConfigMap reports whether a pod names any config map.
func PodUsesAnyConfigMap(spec *corev1.PodSpec) bool { return podNamesConfigMap(spec, whatever) }

func podUsesSecret(spec *corev1.PodSpec, name string) bool {
	return podNamesSecret(spec, exactly(name))
}

func podUsesConfigMap(spec *corev1.PodSpec, name string) bool {
	return podNamesConfigMap(spec, exactly(name))
}

// podNamesSecret reports whether a pod names a matching secret anywhere.
func podNamesSecret(spec *corev1.PodSpec, m match) bool {
	for _, ref := range spec.ImagePullSecrets {
		if m(ref.Name) {
			return true
		}
	}
	for i := range spec.Volumes {
		if volumeNamesSecret(&spec.Volumes[i], m) {
			return true
		}
	}
	return anyContainer(spec, func(env []corev1.EnvVar, from []corev1.EnvFromSource) bool {
		for i := range env {
			if v := env[i].ValueFrom; v != nil && v.SecretKeyRef != nil && m(v.SecretKeyRef.Name) {
				return true
			}
		}
		for i := range from {
			if ref := from[i].SecretRef; ref != nil && m(ref.Name) {
				return true
			}
		}
		return false
	})
}

func volumeNamesSecret(v *corev1.Volume, m match) bool {
	local := func(ref *corev1.LocalObjectReference) bool { return ref != nil && m(ref.Name) }
	switch {
	case v.Secret != nil:
		return m(v.Secret.SecretName)
	case v.Projected != nil:
		for i := range v.Projected.Sources {
			if s := v.Projected.Sources[i].Secret; s != nil && m(s.Name) {
				return true
			}
		}
	case v.CSI != nil:
		return local(v.CSI.NodePublishSecretRef)
	case v.ISCSI != nil:
		return local(v.ISCSI.SecretRef)
	case v.CephFS != nil:
		return local(v.CephFS.SecretRef)
	case v.RBD != nil:
		return local(v.RBD.SecretRef)
	case v.FlexVolume != nil:
		return local(v.FlexVolume.SecretRef)
	case v.Cinder != nil:
		return local(v.Cinder.SecretRef)
	case v.ScaleIO != nil:
		return local(v.ScaleIO.SecretRef)
	case v.StorageOS != nil:
		return local(v.StorageOS.SecretRef)
	case v.AzureFile != nil:
		return m(v.AzureFile.SecretName)
	}
	return false
}

// podNamesConfigMap reports whether a pod names a matching config map anywhere.
func podNamesConfigMap(spec *corev1.PodSpec, m match) bool {
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		if v.ConfigMap != nil && m(v.ConfigMap.Name) {
			return true
		}
		if v.Projected == nil {
			continue
		}
		for j := range v.Projected.Sources {
			if s := v.Projected.Sources[j].ConfigMap; s != nil && m(s.Name) {
				return true
			}
		}
	}
	return anyContainer(spec, func(env []corev1.EnvVar, from []corev1.EnvFromSource) bool {
		for i := range env {
			if v := env[i].ValueFrom; v != nil && v.ConfigMapKeyRef != nil && m(v.ConfigMapKeyRef.Name) {
				return true
			}
		}
		for i := range from {
			if ref := from[i].ConfigMapRef; ref != nil && m(ref.Name) {
				return true
			}
		}
		return false
	})
}

// anyContainer applies fn to the environment of every container of any kind.
func anyContainer(spec *corev1.PodSpec, fn func([]corev1.EnvVar, []corev1.EnvFromSource) bool) bool {
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			if fn(list[i].Env, list[i].EnvFrom) {
				return true
			}
		}
	}
	for i := range spec.EphemeralContainers {
		if c := &spec.EphemeralContainers[i]; fn(c.Env, c.EnvFrom) {
			return true
		}
	}
	return false
}
