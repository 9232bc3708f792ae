package customresource

import (
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func widgets(change func(*apiextensionsv1.CustomResourceDefinition)) *apiextensionsv1.CustomResourceDefinition {
	d := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "widgets.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com",
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "widgets", Singular: "widget", Kind: "Widget", ListKind: "WidgetList", ShortNames: []string{"wd", "wi"}},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true, Schema: &apiextensionsv1.CustomResourceValidation{
				OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object"}}}},
		},
	}
	change(d)
	return d
}

// TestConditions: what a definition's status says, in upstream's words.
func TestConditions(t *testing.T) {
	rival := widgets(func(d *apiextensionsv1.CustomResourceDefinition) {
		d.Name = "gadgets.example.com"
		d.Status.AcceptedNames = apiextensionsv1.CustomResourceDefinitionNames{Plural: "wd", Singular: "wi", Kind: "Other", ListKind: "OtherList"}
	})
	moved := widgets(func(d *apiextensionsv1.CustomResourceDefinition) {
		d.Status.AcceptedNames = d.Spec.Names
		d.Spec.Names.Singular, d.Spec.Names.ShortNames = "widgets", []string{"wi", "widget"}
	})
	type condition struct{ kind, status, reason, message string }
	accepted := condition{"NamesAccepted", "True", "NoConflicts", "no conflicts found"}
	established := condition{"Established", "True", "InitialNamesAccepted", "the initial names have been accepted"}
	for name, tt := range map[string]struct {
		change func(*apiextensionsv1.CustomResourceDefinition)
		all    []*apiextensionsv1.CustomResourceDefinition
		want   []condition
	}{
		"new": {func(*apiextensionsv1.CustomResourceDefinition) {}, nil, []condition{accepted, established}},
		"short names taken": {func(*apiextensionsv1.CustomResourceDefinition) {}, []*apiextensionsv1.CustomResourceDefinition{rival}, []condition{
			{"NamesAccepted", "False", "ShortNamesConflict", `["wd" is already in use, "wi" is already in use]`},
			{"Established", "False", "NotAccepted", "not all names are accepted"}}},
		"a name of its own in another place": {func(d *apiextensionsv1.CustomResourceDefinition) { *d = *moved }, []*apiextensionsv1.CustomResourceDefinition{moved}, []condition{
			{"NamesAccepted", "False", "ShortNamesConflict", `"widget" is already in use`},
			{"Established", "False", "NotAccepted", "not all names are accepted"}}},
		"unreadable certificates": {func(d *apiextensionsv1.CustomResourceDefinition) {
			d.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Webhook: &apiextensionsv1.WebhookConversion{
				ClientConfig: &apiextensionsv1.WebhookClientConfig{CABundle: []byte("no")}}}
		}, nil, []condition{accepted, {"Established", "False", "InvalidCABundle", "The conversion webhook CABundle is invalid"}}},
		"preserving": {func(d *apiextensionsv1.CustomResourceDefinition) { d.Spec.PreserveUnknownFields = true }, nil, []condition{accepted, established,
			{"NonStructuralSchema", "True", "Violations", "spec.preserveUnknownFields: Invalid value: true: must be false"}}},
		"community group": {func(d *apiextensionsv1.CustomResourceDefinition) { d.Spec.Group = "sig.k8s.io" }, nil, []condition{accepted, established,
			{"KubernetesAPIApprovalPolicyConformant", "False", "MissingAnnotation", `protected groups must have approval annotation "api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111`}}},
		"going": {func(d *apiextensionsv1.CustomResourceDefinition) {
			d.DeletionTimestamp, d.Finalizers = &metav1.Time{}, []string{apiextensionsv1.CustomResourceCleanupFinalizer}
		}, nil, []condition{accepted, established, {"Terminating", "True", "InstanceDeletionInProgress", "CustomResource deletion is in progress"}}},
	} {
		t.Run(name, func(t *testing.T) {
			got := status(widgets(tt.change), tt.all, metav1.Time{Time: time.Unix(1, 0)})
			if len(got.Conditions) != len(tt.want) {
				t.Fatalf("%+v", got.Conditions)
			}
			for i, c := range got.Conditions {
				if have := (condition{string(c.Type), string(c.Status), c.Reason, c.Message}); have != tt.want[i] {
					t.Errorf("got  %+v\nwant %+v", have, tt.want[i])
				}
			}
		})
	}
}
