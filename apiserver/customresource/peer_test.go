package customresource_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// shirts are of a kind whose replicas are at .spec.a in one version and nowhere in the next; the last has a field of its own.
const shirts = `{
  "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "shirts.peer.example.com"},
  "spec": {"group": "peer.example.com", "scope": "Cluster", "names": {"plural": "shirts", "singular": "shirt", "kind": "Shirt", "listKind": "ShirtList"},
    "versions": [
      {"name": "v1", "served": true, "storage": true, "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.a", "statusReplicasPath": ".status.a"}},
       "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {
         "a": {"type": "integer"}, "size": {"type": "number", "default": 1.5}, "any": {"x-kubernetes-preserve-unknown-fields": true},
         "part": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}}}}}}},
      {"name": "v2", "served": true, "storage": false, "subresources": {"scale": {"specReplicasPath": ".spec.b", "statusReplicasPath": ".status.b"}},
       "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}}},
      {"name": "v3", "served": true, "storage": false, "schema": {"openAPIV3Schema": {"type": "object", "required": ["more"], "properties": {
         "more": {"enum": [1.0, {"b": [2.0], "a": 1}], "x-kubernetes-preserve-unknown-fields": true}}}}}]}}`

// peerFixture serves shirts.
func peerFixture(t *testing.T) (v1, v2, v3 dynamic.ResourceInterface) {
	f := setUp(t)
	var d apiextensionsv1.CustomResourceDefinition
	if err := json.Unmarshal([]byte(shirts), &d); err != nil {
		t.Fatal(err)
	}
	if _, err := f.crds.ApiextensionsV1().CustomResourceDefinitions().Create(t.Context(), &d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	client := dynamic.NewForConfigOrDie(f.s.Config)
	of := func(version string) dynamic.ResourceInterface {
		return client.Resource(schema.GroupVersionResource{Group: "peer.example.com", Version: version, Resource: "shirts"})
	}
	f.until("shirts are served", func() bool {
		_, err := of("v1").List(t.Context(), metav1.ListOptions{})
		return err == nil
	})
	return of("v1"), of("v2"), of("v3")
}

func shirt(t *testing.T, v1 dynamic.ResourceInterface, name, spec string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON([]byte(`{"apiVersion":"peer.example.com/v1","kind":"Shirt","metadata":{"name":"` + name + `"},"spec":` + spec + `}`)); err != nil {
		t.Fatal(err)
	}
	out, err := v1.Create(t.Context(), u, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestNumbersAreSettled: a number that was written as 1.0 is the one that is read, so that a patch of nothing is no change.
func TestNumbersAreSettled(t *testing.T) {
	v1, _, _ := peerFixture(t)
	// The library would send 10000000000.0 as it is read back.
	made, err := v1.Patch(t.Context(), "a", types.ApplyPatchType, []byte(`{"apiVersion":"peer.example.com/v1","kind":"Shirt","metadata":{"name":"a"},
		"spec":{"size":10000000000.0,"any":[1.0,2.5,{"x":-0.0,"y":1e300,"z":1e20}]}}`), metav1.PatchOptions{FieldManager: "m"})
	if err != nil {
		t.Fatal(err)
	}
	for _, patch := range []string{`{}`, `{"spec":{}}`, `{"spec":{"size":10000000000}}`} {
		got, err := v1.Patch(t.Context(), "a", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		if err != nil || got.GetGeneration() != 1 || got.GetResourceVersion() != made.GetResourceVersion() {
			t.Errorf("%s: generation %d, revision %s, was %s: %v", patch, got.GetGeneration(), got.GetResourceVersion(), made.GetResourceVersion(), err)
		}
	}
}

// TestValuesAreSettled: a definition whose values are written in another way is the same definition.
func TestValuesAreSettled(t *testing.T) {
	of := func(values string) *apiextensionsv1.CustomResourceDefinition {
		var d apiextensionsv1.CustomResourceDefinition
		if err := json.Unmarshal([]byte(shirts), &d); err != nil {
			t.Fatal(err)
		}
		props := d.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties
		if err := json.Unmarshal([]byte(values), &props); err != nil {
			t.Fatal(err)
		}
		return &d
	}
	f := setUp(t)
	crds := f.crds.ApiextensionsV1().CustomResourceDefinitions()
	was, err := crds.Create(t.Context(), of(`{"any":{"x-kubernetes-preserve-unknown-fields":true,"default":{"b":1,"a":[2]},"enum":[1,{"b":1,"a":[2]}]}}`), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, values := range []string{
		`{"any":{"x-kubernetes-preserve-unknown-fields":true,"default":{"a":[2],"b":1},"enum":[1,{"a":[2],"b":1}]}}`,
		`{"any":{"x-kubernetes-preserve-unknown-fields":true,"default":{"b":1, "a":[ 2 ]},"enum":[1,{"b":1,"a":[2]}]}}`,
	} {
		f.until("the definition is written", func() bool {
			now, err := crds.Get(t.Context(), was.Name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			next := of(values)
			next.ResourceVersion = now.ResourceVersion
			next, err = crds.Update(t.Context(), next, metav1.UpdateOptions{})
			if err == nil && next.Generation != 1 {
				t.Errorf("%s: generation %d", values, next.Generation)
			}
			return err == nil
		})
	}
}

// TestValidInTheVersionWritten: an object is looked at as it was written, although the storage version does not know all of
// it, and enumerations are those that the definition is read back with.
func TestValidInTheVersionWritten(t *testing.T) {
	v1, _, v3 := peerFixture(t)
	write := func(name, more string) error {
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON([]byte(`{"apiVersion":"peer.example.com/v3","kind":"Shirt","metadata":{"name":"` + name + `"}` + more + `}`)); err != nil {
			t.Fatal(err)
		}
		_, err := v3.Create(t.Context(), u, metav1.CreateOptions{})
		return err
	}
	if err := write("none", ``); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "more: Required value") {
		t.Errorf("without a field that v3 requires: %v", err)
	}
	for name, more := range map[string]string{"one": `1`, "many": `{"a":1,"b":[2]}`} {
		if err := write(name, `,"more":`+more); err != nil {
			t.Errorf("%s: %v", more, err)
		}
		if stored, err := v1.Get(t.Context(), name, metav1.GetOptions{}); err != nil || stored.Object["more"] != nil {
			t.Errorf("%s: v1 shows %v, %v", more, stored, err)
		}
	}
}

// TestPatchOfEmbeddedMetadata: what a patch makes of embedded metadata is refused as a patch, with what it has made.
func TestPatchOfEmbeddedMetadata(t *testing.T) {
	v1, _, _ := peerFixture(t)
	shirt(t, v1, "a", `{}`)
	_, err := v1.Patch(t.Context(), "a", types.MergePatchType, []byte(`{"spec":{"part":{"apiVersion":"v1","kind":"Pod","metadata":{"name":1}}}}`), metav1.PatchOptions{})
	if !apierrors.IsInvalid(err) || !strings.HasPrefix(err.Error(), ` "" is invalid: patch: Invalid value: "{\"apiVersion\":\"peer.example.com/v1\"`) ||
		!strings.HasSuffix(err.Error(), `: spec.part.metadata: Invalid value: {"name":1}: json: cannot unmarshal number into Go struct field ObjectMeta.name of type string`) {
		t.Errorf("%v", err)
	}
}

// TestScaleWithoutReplicas: where an object has no replicas there is no scale, until somebody gives it some.
func TestScaleWithoutReplicas(t *testing.T) {
	v1, v2, _ := peerFixture(t)
	shirt(t, v1, "a", `{}`)
	scale := func(of dynamic.ResourceInterface, patch string) (replicas int64, found bool, err error) {
		var out *unstructured.Unstructured
		if patch == "" {
			out, err = of.Get(context.Background(), "a", metav1.GetOptions{}, "scale")
		} else {
			out, err = of.Patch(context.Background(), "a", types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "scale")
		}
		if err == nil {
			replicas, found, err = unstructured.NestedInt64(out.Object, "spec", "replicas")
		}
		return replicas, found, err
	}
	for _, step := range []struct {
		of          dynamic.ResourceInterface
		patch, says string
		code        int32
		replicas    int64
	}{
		{v1, "", `Internal error occurred: the spec replicas field ".spec.a" does not exist`, 500, 0},
		{v1, `{"metadata":{"labels":{"x":"y"}}}`, `the spec replicas field ".spec.a" cannot be empty`, 400, 0},
		{v1, `{"spec":{"replicas":-1}}`, `Shirt.peer.example.com "a" is invalid: .spec.a: Invalid value: -1: should be a non-negative integer`, 422, 0},
		{v1, `{"spec":{"replicas":3}}`, "", 0, 3},
		{v1, "", "", 0, 3},
		{v2, "", `Internal error occurred: the spec replicas field ".spec.b" does not exist`, 500, 0},
		{v2, `{"spec":{"replicas":4}}`, "", 0, 0}, // the schema has no such field
	} {
		replicas, _, err := scale(step.of, step.patch)
		var status apierrors.APIStatus
		switch {
		case step.code == 0 && (err != nil || replicas != step.replicas):
			t.Errorf("%q: %d replicas, want %d: %v", step.patch, replicas, step.replicas, err)
		case step.code != 0 && (!errors.As(err, &status) || status.Status().Code != step.code || status.Status().Message != step.says):
			t.Errorf("%q: %v, want %d: %s", step.patch, err, step.code, step.says)
		}
	}
}
