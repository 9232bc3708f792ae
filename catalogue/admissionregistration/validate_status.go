package admissionregistration

import (
	"fmt"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/util/jsonpath"

	"clipper/catalogue/rule"
)

func validatePolicyStatus(p, _ *admissionv1.ValidatingAdmissionPolicy) field.ErrorList {
	f, at := &rule.Faults{}, field.NewPath("status")
	if t := p.Status.TypeChecking; t != nil {
		for i, w := range t.ExpressionWarnings {
			expressionWarning(f, w, at.Child("typeChecking", "expressionWarnings").Index(i))
		}
	}
	f.Add(metav1validation.ValidateConditions(p.Status.Conditions, at.Child("conditions"))...)
	return f.List
}

func expressionWarning(f *rule.Faults, w admissionv1.ExpressionWarning, at *field.Path) {
	f.Need(at.Child("warning"), w.Warning)
	at = at.Child("fieldRef")
	ref := strings.TrimSpace(w.FieldRef)
	if !f.Need(at, ref) {
		return
	}
	if err := jsonpath.New("spec").Parse("{" + ref + "}"); err != nil {
		f.Invalid(at, ref, fmt.Sprintf("invalid JSONPath: %v", err))
	}
}
