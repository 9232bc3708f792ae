package ownerreferences

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"clipper/api"
	"clipper/apiserver/admission"
	"clipper/apiserver/served"
	"clipper/catalogue/all"
)

// may allows what it lists: verb and resource with its subresource, in their namespace.
type may map[string]bool

func (m may) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	text := a.GetVerb() + " " + a.GetResource()
	if a.GetSubresource() != "" {
		text += "/" + a.GetSubresource()
	}
	if m[text+" in "+a.GetNamespace()] {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "no", nil
}

func owner(uid, apiVersion, kind string, blocks bool) metav1.OwnerReference {
	return metav1.OwnerReference{UID: types.UID(uid), APIVersion: apiVersion, Kind: kind, Name: "o", BlockOwnerDeletion: &blocks}
}

func TestValidate(t *testing.T) {
	table, err := served.NewTable(all.Resources())
	if err != nil {
		t.Fatal(err)
	}
	type refs = []metav1.OwnerReference
	const noFinalizers = `configmaps "c" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: no, <nil>`
	for _, tt := range []struct {
		name     string
		op       admission.Operation
		may      may
		had, has refs
		err      string
	}{
		{"no owner", admission.Create, nil, nil, nil, ""},
		{"whoever creates may give an owner", admission.Create, nil, nil, refs{owner("1", "v1", "Pod", false)}, ""},
		{"whoever updates must be able to delete", admission.Update, nil, nil, refs{owner("1", "v1", "Pod", false)},
			`configmaps "c" is forbidden: cannot set an ownerRef on a resource you can't delete: no, <nil>`},
		{"and can", admission.Update, may{"delete configmaps in ns": true}, nil, refs{owner("1", "v1", "Pod", false)}, ""},
		{"taking one away is a change", admission.Update, nil, refs{owner("1", "v1", "Pod", false)}, nil,
			`configmaps "c" is forbidden: cannot set an ownerRef on a resource you can't delete: no, <nil>`},
		{"the same ones", admission.Update, nil, refs{owner("1", "v1", "Pod", true)}, refs{owner("1", "v1", "Pod", true)}, ""},
		{"blocking", admission.Create, nil, nil, refs{owner("1", "v1", "Pod", true)}, noFinalizers},
		{"blocking, allowed", admission.Create, may{"update pods/finalizers in ns": true}, nil, refs{owner("1", "v1", "Pod", true)}, ""},
		{"blocking what has no namespace", admission.Create, may{"update nodes/finalizers in ns": true}, nil, refs{owner("1", "v1", "Node", true)}, noFinalizers},
		{"blocking anything", admission.Create, may{"update */finalizers in ": true}, nil, refs{owner("1", "x/v1", "Y", true)}, ""},
		{"now blocking", admission.Update, may{"delete configmaps in ns": true}, refs{owner("1", "v1", "Pod", false)}, refs{owner("1", "v1", "Pod", true)}, noFinalizers},
		{"blocking before", admission.Update, may{"delete configmaps in ns": true}, refs{owner("1", "v1", "Pod", true)}, refs{owner("1", "v1", "Pod", true), owner("2", "v1", "Pod", false)}, ""},
		{"blocking the unknown", admission.Create, nil, nil, refs{owner("1", "x/v1", "Y", true)},
			`configmaps "c" is forbidden: cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion x/v1 Kind Y: no matches for kind "Y" in version "x/v1"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := &admission.Attributes{Operation: tt.op, Resource: api.ConfigMaps.Resource, Namespace: "ns", Name: "c", User: &user.DefaultInfo{Name: "u"},
				Object: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c", OwnerReferences: tt.has}}}
			if tt.op == admission.Update {
				a.Old = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c", OwnerReferences: tt.had}}
			}
			err := New(func() *served.Table { return table }, tt.may).Validate(t.Context(), a)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || err.Error() != tt.err) {
				t.Errorf("%v, want %q", err, tt.err)
			}
		})
	}
}
