package apps

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
)

var (
	specPath     = field.NewPath("spec")
	statusPath   = field.NewPath("status")
	templatePath = specPath.Child("template")
)

const mismatch = "`selector` does not match template `labels`"

// selected checks a selector and that it selects the pods of the template. word says of which kind. It
// reports whether there is a selector to speak of; without one the template is not looked at.
func selected(f *rule.Faults, s *metav1.LabelSelector, t *corev1.PodTemplateSpec, word, broken string) bool {
	at := specPath.Child("selector")
	if s == nil {
		f.Required(at, "")
	} else {
		f.Selector(at, s, false)
		if len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
			f.Invalid(at, s, "empty selector is invalid for "+word)
		}
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	switch {
	case err != nil:
		f.Invalid(at, s, broken)
	case !selector.Empty() && !selector.Matches(labels.Set(t.Labels)):
		f.Invalid(templatePath.Child("metadata", "labels"), t.Labels, mismatch)
	}
	return err == nil
}

// alwaysRunning: a pod that may end, or must, is for a Job.
func alwaysRunning(f *rule.Faults, t *corev1.PodTemplateSpec, word string) {
	if p := t.Spec.RestartPolicy; p != corev1.RestartPolicyAlways {
		f.Add(field.NotSupported(templatePath.Child("spec", "restartPolicy"), p, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if t.Spec.ActiveDeadlineSeconds != nil {
		f.Forbidden(templatePath.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in "+word+" is not Supported")
	}
}

// template checks a pod template; old is nil on create.
func template(f *rule.Faults, t, old *corev1.PodTemplateSpec) {
	f.Add(podspec.ValidateTemplate(t, templatePath, templateOptions(old))...)
}

func templateOptions(old *corev1.PodTemplateSpec) podspec.Options {
	if old == nil {
		return podspec.Options{}
	}
	return podspec.OptionsFor(&old.Spec)
}
