package customresource_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// holder is a kind whose objects hold others, in two versions with the same schema.
const holder = `{
  "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
  "metadata": {"name": "holders.stable.example.com"},
  "spec": {
    "group": "stable.example.com", "scope": "Cluster",
    "names": {"plural": "holders", "singular": "holder", "kind": "Holder", "listKind": "HolderList"},
    "versions": [%s, %s]}}`

const holderVersion = `{"name": %q, "served": true, "storage": %t, "subresources": {"status": {}},
  "schema": {"openAPIV3Schema": {"type": "object", "properties": {
    "spec": {"type": "object", "properties": {
      "size": {"type": "integer"},
      "held": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"data": {"type": "string"}}}}},
    "status": {"type": "object", "properties": {"size": {"type": "integer"}}}}}}}`

// holders serves the kind and returns what changes objects of the storage version, and of the other one.
func holders(t *testing.T) (v1, v3 dynamic.ResourceInterface) {
	t.Helper()
	f := setUp(t)
	var crd apiextensionsv1.CustomResourceDefinition
	text := fmt.Sprintf(holder, fmt.Sprintf(holderVersion, "v1", true), fmt.Sprintf(holderVersion, "v3", false))
	if err := json.Unmarshal([]byte(text), &crd); err != nil {
		t.Fatal(err)
	}
	if _, err := f.crds.ApiextensionsV1().CustomResourceDefinitions().Create(t.Context(), &crd, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	d := dynamic.NewForConfigOrDie(f.s.Config)
	gvr := schema.GroupVersionResource{Group: "stable.example.com", Version: "v1", Resource: "holders"}
	v1 = d.Resource(gvr)
	gvr.Version = "v3"
	v3 = d.Resource(gvr)
	f.until("both versions are served", func() bool {
		_, err1 := v1.List(context.Background(), metav1.ListOptions{})
		_, err3 := v3.List(context.Background(), metav1.ListOptions{})
		return err1 == nil && err3 == nil
	})
	return v1, v3
}

func holderOf(version, name, rest string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	text := fmt.Sprintf(`{"apiVersion":"stable.example.com/%s","kind":"Holder","metadata":{"name":%q},%s}`, version, name, rest)
	if err := u.UnmarshalJSON([]byte(text)); err != nil {
		panic(err)
	}
	return u
}

// TestApplyEmbedded: an embedded object has the fields of every object, for server-side apply too.
func TestApplyEmbedded(t *testing.T) {
	v1, _ := holders(t)
	o := holderOf("v1", "a", `"spec":{"held":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","labels":{"l":"1"}},"data":"d"}}`)
	applied, err := v1.Apply(t.Context(), "a", o, metav1.ApplyOptions{FieldManager: "one"})
	if err != nil {
		t.Fatal(err)
	}
	owned := string(applied.GetManagedFields()[0].FieldsV1.Raw)
	if want := `"f:held":{"f:apiVersion":{},"f:data":{},"f:kind":{},"f:metadata":{"f:labels":{"f:l":{}},"f:name":{}}}`; !strings.Contains(owned, want) {
		t.Errorf("owned: %s, want %s", owned, want)
	}
	o.SetName("b")
	created, err := v1.Create(t.Context(), o, metav1.CreateOptions{})
	if err != nil || len(created.GetManagedFields()) != 1 {
		t.Errorf("created: %v, %v; its creator owns what it has", created, err)
	}
}

// TestApplyStatusOfOtherVersion: whoever applies the status owns nothing else, whatever version it speaks.
func TestApplyStatusOfOtherVersion(t *testing.T) {
	_, v3 := holders(t)
	if _, err := v3.Apply(t.Context(), "a", holderOf("v3", "a", `"spec":{"size":1},"status":{"size":1}`), metav1.ApplyOptions{FieldManager: "one"}); err != nil {
		t.Fatal(err)
	}
	got, err := v3.ApplyStatus(t.Context(), "a", holderOf("v3", "a", `"spec":{"size":2},"status":{"size":2}`), metav1.ApplyOptions{FieldManager: "two"})
	if err != nil {
		t.Fatal(err)
	}
	if n, _, _ := unstructured.NestedInt64(got.Object, "status", "size"); n != 2 {
		t.Errorf("status.size = %d", n)
	}
}

// TestRevisionOnCreate: what is no revision does not keep an object from being created.
func TestRevisionOnCreate(t *testing.T) {
	v1, _ := holders(t)
	for revision, refused := range map[string]bool{"": false, "0": false, "no number": false, "7": true} {
		o := holderOf("v1", fmt.Sprintf("r%x", revision), `"spec":{}`)
		o.SetResourceVersion(revision)
		if _, err := v1.Create(t.Context(), o, metav1.CreateOptions{}); (err != nil) != refused {
			t.Errorf("resourceVersion %q: %v", revision, err)
		}
	}
}
