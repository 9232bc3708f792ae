package customresource_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestDeletionIsSaidAtOnce: the answer to a deletion shows what upstream's shows, and new objects are refused however
// they would come.
func TestDeletionIsSaidAtOnce(t *testing.T) {
	f := setUp(t)
	ctx := context.Background()
	held := cronTab("held", `{"cronSpec":"* *"}`)
	held.SetFinalizers([]string{"example.com/never"})
	if _, err := f.v1.Create(ctx, held, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	crds := f.crds.ApiextensionsV1().CustomResourceDefinitions()
	const name = "crontabs.stable.example.com"
	before, err := crds.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	wrong := types.UID("another")
	err = crds.Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &wrong}})
	if want := "Precondition failed: UID in precondition: another, UID in object meta: " + string(before.UID); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), want) {
		t.Errorf("of another UID: %v", err)
	}
	body, err := f.crds.RESTClient().Delete().AbsPath("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", name).
		Body([]byte(`{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Foreground"}`)).DoRaw(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var got apiextensionsv1.CustomResourceDefinition
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	c := apihelpers.FindCRDCondition(&got, apiextensionsv1.Terminating)
	switch {
	case c == nil || c.Status != "True" || c.Reason != "InstanceDeletionPending" || c.LastTransitionTime.IsZero():
		t.Errorf("condition: %v", c)
	case got.DeletionTimestamp == nil || got.DeletionGracePeriodSeconds != nil || got.Generation != before.Generation:
		t.Errorf("metadata: %+v", got.ObjectMeta)
	case !slices.Equal(got.Finalizers, []string{apiextensionsv1.CustomResourceCleanupFinalizer}):
		t.Errorf("finalizers: %v", got.Finalizers)
	case got.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Type != "object":
		t.Errorf("schema: %+v", got.Spec.Versions[0].Schema)
	}
	f.until("objects are being deleted", func() bool {
		o, err := f.v1.Get(ctx, "held", metav1.GetOptions{})
		return err == nil && o.GetDeletionTimestamp() != nil
	})
	const refused = "create not allowed while custom resource definition is terminating"
	if _, err := f.v1.Create(ctx, cronTab("late", `{"cronSpec":"* *"}`), metav1.CreateOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), refused) {
		t.Errorf("create: %v", err)
	}
	if _, err := f.v1.Apply(ctx, "late", cronTab("late", `{"cronSpec":"* *"}`), metav1.ApplyOptions{FieldManager: "test"}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), refused) {
		t.Errorf("apply: %v", err)
	}
	if _, err := f.v1.Patch(ctx, "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Errorf("what is there may change: %v", err)
	}
	f.until("the definition is gone", func() bool {
		_, err := crds.Get(ctx, name, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}
