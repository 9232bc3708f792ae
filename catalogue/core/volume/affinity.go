package volume

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	kubeletapis "k8s.io/kubelet/pkg/apis"
)

// stable are today's names of labels that nodes had under others.
var stable = map[string]string{
	corev1.LabelFailureDomainBetaZone:   corev1.LabelTopologyZone,
	corev1.LabelFailureDomainBetaRegion: corev1.LabelTopologyRegion,
	kubeletapis.LabelOS:                 corev1.LabelOSStable,
	kubeletapis.LabelArch:               corev1.LabelArchStable,
	corev1.LabelInstanceType:            corev1.LabelInstanceTypeStable,
}

// sameAffinity says whether is demands of a node what was has demanded, under the same labels or under their names of today.
func sameAffinity(is, was *corev1.VolumeNodeAffinity) bool {
	if equality.Semantic.DeepEqual(is, was) {
		return true
	}
	if is == nil || is.Required == nil || was.Required == nil || len(is.Required.NodeSelectorTerms) != len(was.Required.NodeSelectorTerms) {
		return false
	}
	renamed := was.DeepCopy()
	for i, term := range is.Required.NodeSelectorTerms {
		rename(renamed.Required.NodeSelectorTerms[i].MatchExpressions, term.MatchExpressions)
		rename(renamed.Required.NodeSelectorTerms[i].MatchFields, term.MatchFields)
	}
	return equality.Semantic.DeepEqual(is, renamed)
}

// rename gives requirements the labels that those of to have in their places, if they are the old names of these.
func rename(requirements, to []corev1.NodeSelectorRequirement) {
	for i := range min(len(requirements), len(to)) {
		if stable[requirements[i].Key] == to[i].Key {
			requirements[i].Key = to[i].Key
		}
	}
}
