package customresource

import (
	"fmt"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/util/webhook"

	"clipper/api/packed"
)

// status is what d's status ought to be, given the other definitions. It changes nothing.
func status(d *apiextensionsv1.CustomResourceDefinition, all []*apiextensionsv1.CustomResourceDefinition, now metav1.Time) *apiextensionsv1.CustomResourceDefinitionStatus {
	next := names(d, all, now)
	had := apihelpers.FindCRDCondition(d, apiextensionsv1.NonStructuralSchema) != nil
	if had || d.Spec.PreserveUnknownFields { // no validation, ever, has let others in
		if c, ok := nonStructural(d); ok {
			setCondition(next, c, now)
		} else {
			next.Conditions = withoutCondition(next.Conditions, apiextensionsv1.NonStructuralSchema)
		}
	}
	if c, ok := approval(d); ok {
		setCondition(next, c, now)
	}
	if d.DeletionTimestamp != nil && !isDone(d) {
		setCondition(next, terminating, now)
	}
	return next
}

// nonStructural says what keeps a schema from being pruned and defaulted; ok if anything does. Validation
// lets no such definition in any more, but one that is there already may be.
func nonStructural(d *apiextensionsv1.CustomResourceDefinition) (c apiextensionsv1.CustomResourceDefinitionCondition, ok bool) {
	c = apiextensionsv1.CustomResourceDefinitionCondition{Type: apiextensionsv1.NonStructuralSchema, Status: apiextensionsv1.ConditionUnknown}
	var faults field.ErrorList
	if d.Spec.PreserveUnknownFields {
		faults = append(faults, field.Invalid(field.NewPath("spec", "preserveUnknownFields"), d.Spec.PreserveUnknownFields, "must be false"))
	}
	for i, v := range d.Spec.Versions {
		schema := packed.Schema(&v)
		if schema == nil {
			continue
		}
		props := &apiextensions.JSONSchemaProps{}
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(schema, props, nil); err != nil {
			continue // describing the kind fails, too, and says why
		}
		s, err := structuralschema.NewStructural(props)
		if err != nil {
			c.Reason, c.Message = "StructuralError", fmt.Sprintf("failed to check validation schema for version %s: %v", v.Name, err)
			return c, true
		}
		at := field.NewPath("spec", "versions").Index(i).Child("schema", "openAPIV3Schema")
		faults = append(faults, structuralschema.ValidateStructural(at, s)...)
	}
	if len(faults) == 0 {
		return c, false
	}
	c.Status, c.Reason, c.Message = apiextensionsv1.ConditionTrue, "Violations", faults.ToAggregate().Error()
	return c, true
}

// approval says whether a group of the Kubernetes community may be used; ok if d's is one.
func approval(d *apiextensionsv1.CustomResourceDefinition) (c apiextensionsv1.CustomResourceDefinitionCondition, ok bool) {
	if !apihelpers.IsProtectedCommunityGroup(d.Spec.Group) {
		return c, false
	}
	state, message := apihelpers.GetAPIApprovalState(d.Annotations)
	c = apiextensionsv1.CustomResourceDefinitionCondition{
		Type: apiextensionsv1.KubernetesAPIApprovalPolicyConformant, Status: apiextensionsv1.ConditionFalse, Message: message,
	}
	switch state {
	case apihelpers.APIApprovalInvalid:
		c.Reason = "InvalidAnnotation"
	case apihelpers.APIApprovalMissing:
		c.Reason = "MissingAnnotation"
	case apihelpers.APIApproved:
		c.Status, c.Reason = apiextensionsv1.ConditionTrue, "ApprovedAnnotation"
	case apihelpers.APIApprovalBypassed:
		c.Reason = "UnapprovedAnnotation"
	default:
		c.Status, c.Reason = apiextensionsv1.ConditionUnknown, "UnknownAnnotation"
	}
	return c, true
}

// hasBadCA says whether the conversion webhook's certificates cannot be read, so that nothing can be converted.
func hasBadCA(d *apiextensionsv1.CustomResourceDefinition) bool {
	c := d.Spec.Conversion
	return c != nil && c.Webhook != nil && c.Webhook.ClientConfig != nil &&
		len(webhook.ValidateCABundle(field.NewPath(""), c.Webhook.ClientConfig.CABundle)) > 0
}

// The stages of a deletion.
var (
	pending = apiextensionsv1.CustomResourceDefinitionCondition{
		Type: apiextensionsv1.Terminating, Status: apiextensionsv1.ConditionTrue, Reason: "InstanceDeletionPending",
		Message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
	}
	terminating = apiextensionsv1.CustomResourceDefinitionCondition{
		Type: apiextensionsv1.Terminating, Status: apiextensionsv1.ConditionTrue,
		Reason: "InstanceDeletionInProgress", Message: "CustomResource deletion is in progress",
	}
	emptied = apiextensionsv1.CustomResourceDefinitionCondition{
		Type: apiextensionsv1.Terminating, Status: apiextensionsv1.ConditionFalse,
		Reason: "InstanceDeletionCompleted", Message: "removed all instances",
	}
	overlapping = apiextensionsv1.CustomResourceDefinitionCondition{
		Type: apiextensionsv1.Terminating, Status: apiextensionsv1.ConditionFalse,
		Reason: "OverlappingBuiltInResource", Message: "instances overlap with built-in resources in storage",
	}
	neverServed = apiextensionsv1.CustomResourceDefinitionCondition{
		Type: apiextensionsv1.Terminating, Status: apiextensionsv1.ConditionFalse,
		Reason: "NeverEstablished", Message: "resource was never established",
	}
)

// isDone says whether nothing of a definition that is being deleted is left but other finalizers.
func isDone(d *apiextensionsv1.CustomResourceDefinition) bool {
	return !apihelpers.CRDHasFinalizer(d, apiextensionsv1.CustomResourceCleanupFinalizer)
}

func isEstablished(d *apiextensionsv1.CustomResourceDefinition) bool {
	return apihelpers.IsCRDConditionTrue(d, apiextensionsv1.Established)
}

func withoutCondition(in []apiextensionsv1.CustomResourceDefinitionCondition, of apiextensionsv1.CustomResourceDefinitionConditionType) []apiextensionsv1.CustomResourceDefinitionCondition {
	var out []apiextensionsv1.CustomResourceDefinitionCondition
	for _, c := range in {
		if c.Type != of {
			out = append(out, c)
		}
	}
	return out
}

// setCondition replaces the condition of the same type; its time moves with its status.
func setCondition(s *apiextensionsv1.CustomResourceDefinitionStatus, c apiextensionsv1.CustomResourceDefinitionCondition, now metav1.Time) {
	c.LastTransitionTime = now
	for i := range s.Conditions {
		have := &s.Conditions[i]
		if have.Type != c.Type {
			continue
		}
		if have.Status == c.Status {
			c.LastTransitionTime = have.LastTransitionTime
		}
		*have = c
		return
	}
	s.Conditions = append(s.Conditions, c)
}

// aggregate words several conflicts as upstream does: one as it is, more in brackets.
func aggregate(texts []string) string {
	if len(texts) == 1 {
		return texts[0]
	}
	return "[" + strings.Join(texts, ", ") + "]"
}
