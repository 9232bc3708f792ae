package customresource

import (
	"fmt"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// names decides which of the names that d asks for it gets, given the other definitions, and whether it
// can be served. It changes nothing: the answer is d's new status.
func names(d *apiextensionsv1.CustomResourceDefinition, all []*apiextensionsv1.CustomResourceDefinition, now metav1.Time) *apiextensionsv1.CustomResourceDefinitionStatus {
	status := d.Status.DeepCopy()
	taken, takenKinds := takenNames(d, all)
	wanted, got := d.Spec.Names, &status.AcceptedNames
	reason, text := "", ""
	claim := func(want string, have *string, used map[string]bool, fault string) {
		if want != *have && used[want] {
			reason, text = fault, fmt.Sprintf("%q is already in use", want)
			return
		}
		*have = want
	}
	claim(wanted.Plural, &got.Plural, taken, "PluralConflict")
	claim(wanted.Singular, &got.Singular, taken, "SingularConflict")
	if conflicts := shortNameConflicts(wanted.ShortNames, got.ShortNames, taken); len(conflicts) > 0 {
		reason, text = "ShortNamesConflict", aggregate(conflicts)
	} else {
		got.ShortNames = slices.Clone(wanted.ShortNames)
	}
	claim(wanted.Kind, &got.Kind, takenKinds, "KindConflict")
	claim(wanted.ListKind, &got.ListKind, takenKinds, "ListKindConflict")
	got.Categories = slices.Clone(wanted.Categories)

	accepted := apiextensionsv1.CustomResourceDefinitionCondition{
		Type: apiextensionsv1.NamesAccepted, Status: apiextensionsv1.ConditionTrue, Reason: "NoConflicts", Message: "no conflicts found",
	}
	established := apiextensionsv1.CustomResourceDefinitionCondition{
		Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue, Reason: "InitialNamesAccepted", Message: "the initial names have been accepted",
	}
	if hasBadCA(d) {
		established.Status, established.Reason, established.Message = apiextensionsv1.ConditionFalse, "InvalidCABundle", "The conversion webhook CABundle is invalid"
	}
	if reason != "" {
		accepted.Status, accepted.Reason, accepted.Message = apiextensionsv1.ConditionFalse, reason, text
		established.Status, established.Reason, established.Message = apiextensionsv1.ConditionFalse, "NotAccepted", "not all names are accepted"
	}
	setCondition(status, accepted, now)
	if !isEstablished(d) { // what was served once stays served
		setCondition(status, established, now)
	}
	return status
}

// takenNames lists what the definitions of d's group are served by, d itself among them: a name that d has already in
// one place it does not get in another, as upstream.
func takenNames(d *apiextensionsv1.CustomResourceDefinition, all []*apiextensionsv1.CustomResourceDefinition) (resources, kinds map[string]bool) {
	resources, kinds = map[string]bool{}, map[string]bool{}
	for _, o := range all {
		if o.Spec.Group != d.Spec.Group {
			continue
		}
		n := o.Status.AcceptedNames
		for _, name := range append([]string{n.Plural, n.Singular}, n.ShortNames...) {
			resources[name] = name != ""
		}
		kinds[n.Kind], kinds[n.ListKind] = n.Kind != "", n.ListKind != ""
	}
	return resources, kinds
}

func shortNameConflicts(wanted, have []string, taken map[string]bool) []string {
	var out []string
	for _, name := range wanted {
		if !slices.Contains(have, name) && taken[name] {
			out = append(out, fmt.Sprintf("%q is already in use", name))
		}
	}
	return out
}
