package statefulset

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/controllers/owner"
	"clipper/controllers/pods"
)

// ordinal reads the number at the end of a member's name; -1 if p's name is not of set.
func ordinal(set *appsv1.StatefulSet, p *corev1.Pod) int {
	text, ok := strings.CutPrefix(p.Name, set.Name+"-")
	n, err := strconv.ParseInt(text, 10, 32)
	if !ok || err != nil || n < 0 || text != strconv.FormatInt(n, 10) {
		return -1
	}
	return int(n)
}

func first(set *appsv1.StatefulSet) int {
	if set.Spec.Ordinals == nil {
		return 0
	}
	return int(set.Spec.Ordinals.Start)
}

// claimName is the claim that member n keeps for a template over its pods' lives.
func claimName(set *appsv1.StatefulSet, tpl *corev1.PersistentVolumeClaim, n int) string {
	return fmt.Sprintf("%s-%s-%d", tpl.Name, set.Name, n)
}

// newPod makes member n from a template; revision is the name of the template's record.
func newPod(set *appsv1.StatefulSet, t *corev1.PodTemplateSpec, revision string, n int) *corev1.Pod {
	p := pods.FromTemplate(t, set, owner.Ref(set, api.StatefulSets.Resource))
	p.GenerateName = ""
	p.Name = fmt.Sprintf("%s-%d", set.Name, n)
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	p.Labels[appsv1.StatefulSetRevisionLabel] = revision
	p.Spec.Hostname, p.Spec.Subdomain = p.Name, set.Spec.ServiceName
	identify(set, p)
	return p
}

// identify gives p the name labels and volumes of its ordinal, and says whether any were missing.
func identify(set *appsv1.StatefulSet, p *corev1.Pod) bool {
	n := ordinal(set, p)
	changed := false
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	for k, v := range map[string]string{appsv1.StatefulSetPodNameLabel: p.Name, appsv1.PodIndexLabel: strconv.Itoa(n)} {
		if p.Labels[k] != v {
			p.Labels[k] = v
			changed = true
		}
	}
	if p.ResourceVersion != "" {
		return changed // the volumes of a pod that exists are settled
	}
	var volumes []corev1.Volume
	replaced := map[string]bool{}
	for i := range set.Spec.VolumeClaimTemplates {
		tpl := &set.Spec.VolumeClaimTemplates[i]
		replaced[tpl.Name] = true
		volumes = append(volumes, corev1.Volume{Name: tpl.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claimName(set, tpl, n)}}})
	}
	for _, v := range p.Spec.Volumes {
		if !replaced[v.Name] {
			volumes = append(volumes, v)
		}
	}
	p.Spec.Volumes = volumes
	return true
}

// claims makes the claims of member n.
func claims(set *appsv1.StatefulSet, n int) []*corev1.PersistentVolumeClaim {
	var out []*corev1.PersistentVolumeClaim
	for i := range set.Spec.VolumeClaimTemplates {
		tpl := &set.Spec.VolumeClaimTemplates[i]
		c := tpl.DeepCopy()
		c.Name, c.Namespace = claimName(set, tpl, n), set.Namespace
		c.Labels = maps.Clone(c.Labels)
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		maps.Copy(c.Labels, set.Spec.Selector.MatchLabels)
		c.OwnerReferences = nil
		if keepsNothing(set, true) {
			c.OwnerReferences = []metav1.OwnerReference{*owner.Ref(set, api.StatefulSets.Resource)}
		}
		out = append(out, c)
	}
	return out
}

// keepsNothing says whether claims go with the set (deleted), or with the member that a scale takes away.
func keepsNothing(set *appsv1.StatefulSet, deleted bool) bool {
	policy := set.Spec.PersistentVolumeClaimRetentionPolicy
	if policy == nil {
		return false
	}
	if deleted {
		return policy.WhenDeleted == appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	}
	return policy.WhenScaled == appsv1.DeletePersistentVolumeClaimRetentionPolicyType
}

// claimOwners returns the owner references that a member's claim should have: the set's, the pod's while
// the pod is condemned, and whatever others there are. condemned is nil for members that stay.
func claimOwners(set *appsv1.StatefulSet, have []metav1.OwnerReference, pod string, condemned *corev1.Pod) []metav1.OwnerReference {
	var out []metav1.OwnerReference
	for _, r := range have {
		if r.UID == set.UID || r.Kind == "Pod" && r.Name == pod {
			continue
		}
		out = append(out, r)
	}
	switch {
	case condemned != nil && keepsNothing(set, false):
		out = append(out, metav1.OwnerReference{APIVersion: "v1", Kind: "Pod", Name: condemned.Name, UID: condemned.UID})
	case keepsNothing(set, true):
		out = append(out, *owner.Ref(set, api.StatefulSets.Resource))
	}
	return out
}
