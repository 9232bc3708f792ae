package podspec

import (
	"strings"

	"clipper/api/containers"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// appArmorAdvice is for annotations that name a container's AppArmor profile, as was done before the field.
const appArmorAdvice = `deprecated since v1.30; use the "appArmorProfile" field instead`

// appArmor notes the annotation of a container whose field does not say it; in a pod SyncAppArmor has already
// made it say so.
func (n *notes) appArmor(spec *corev1.PodSpec, c *corev1.Container) {
	key := corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + c.Name
	text, ok := n.annotations[key]
	if !ok {
		return
	}
	var own *corev1.AppArmorProfile
	if c.SecurityContext != nil {
		own = c.SecurityContext.AppArmorProfile
	}
	said, of := profileOf(text), podProfile(spec)
	var old bool
	switch {
	case n.template:
		old = own == nil && (of == nil || !equality.Semantic.DeepEqual(of, said))
	case own == nil:
		old = said == nil
	default:
		old = equality.Semantic.DeepEqual(own, said) && !equality.Semantic.DeepEqual(of, said)
	}
	if old {
		n.At(n.meta.Child("annotations").Key(key), appArmorAdvice)
	}
}

// SyncAppArmor moves profiles that a new pod's annotations name to its containers' fields, where they are
// missing and the pod's own profile says otherwise.
func SyncAppArmor(meta *metav1.ObjectMeta, spec *corev1.PodSpec) {
	if spec.OS != nil && spec.OS.Name == corev1.Windows {
		return
	}
	for c := range containers.All(spec) {
		text, ok := meta.Annotations[corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix+c.Name]
		if !ok || c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil {
			continue
		}
		profile := profileOf(text)
		if profile == nil || equality.Semantic.DeepEqual(profile, podProfile(spec)) {
			continue
		}
		if c.SecurityContext == nil {
			c.SecurityContext = &corev1.SecurityContext{}
		}
		c.SecurityContext.AppArmorProfile = profile
	}
}

func podProfile(spec *corev1.PodSpec) *corev1.AppArmorProfile {
	if spec.SecurityContext == nil {
		return nil
	}
	return spec.SecurityContext.AppArmorProfile
}

// profileOf reads an annotation's value; nil if it makes no sense.
func profileOf(text string) *corev1.AppArmorProfile {
	switch {
	case text == corev1.DeprecatedAppArmorBetaProfileNameUnconfined:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	case text == corev1.DeprecatedAppArmorBetaProfileRuntimeDefault:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	}
	name, ok := strings.CutPrefix(text, corev1.DeprecatedAppArmorBetaProfileNamePrefix)
	if !ok || name == "" || strings.TrimSpace(name) != name || len(name) > maxAppArmorProfile {
		return nil
	}
	return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: ptr.To(name)}
}
