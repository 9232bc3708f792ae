package customresource

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/apiserver/resolve"
)

// asked is what a webhook replaces in an answer by the UID of the question.
const asked = "UID"

// FuzzConversion: whatever a webhook makes of objects, they are of the kind and the version that was asked for, and bear
// the names that they had; or there is an error.
func FuzzConversion(f *testing.F) {
	const head = `{"kind":"ConversionReview","apiVersion":"apiextensions.k8s.io/v1","response":{"uid":"` + asked + `","result":{"status":"Success"},"convertedObjects":`
	const one = `{"apiVersion":"example.com/v2","kind":"Gizmo","metadata":{"name":"a","uid":"u-a","labels":{"x":"y"}},"spec":{}}`
	const another = `{"apiVersion":"example.com/v2","kind":"Gizmo","metadata":{"name":"b","uid":"u-b"}}`
	for _, objects := range []string{"[" + one + "]", "[" + one + "," + another + "]", "[]", "null", "[null]", `[{"kind":"List","items":[]}]`, `[{"apiVersion":"example.com/v2","kind":"Gizmo","metadata":1}]`, `[{"apiVersion":"example.com/v2","kind":"Gizmo","items":[1]}]`} {
		f.Add([]byte(head+objects+"}}"), false)
		f.Add([]byte(head+objects+"}}"), true)
	}
	var answer []byte
	hook := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review apiextensionsv1.ConversionReview
		if json.NewDecoder(r.Body).Decode(&review) == nil && review.Request != nil {
			answer = bytes.ReplaceAll(answer, []byte(asked), []byte(review.Request.UID))
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer) // the client may have heard enough
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	f.Cleanup(hook.Close)
	d := &apiextensionsv1.CustomResourceDefinition{}
	d.Name, d.Spec.Group, d.Spec.Names.Kind, d.Status.AcceptedNames.ListKind = "gizmos.example.com", "example.com", "Gizmo", "GizmoList"
	d.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter, Webhook: &apiextensionsv1.WebhookConversion{
		ConversionReviewVersions: []string{"v1"},
		ClientConfig:             &apiextensionsv1.WebhookClientConfig{URL: &hook.URL, CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw})},
	}}
	for _, v := range []string{"v1", "v2"} {
		d.Spec.Versions = append(d.Spec.Versions, apiextensionsv1.CustomResourceDefinitionVersion{Name: v, Served: true, Storage: v == "v1"})
	}
	c, err := newConverters(&apitest.Client{}, &resolve.Loopback{}).of(d)
	if err != nil {
		f.Fatal(err)
	}
	to := schema.GroupVersionKind{Group: "example.com", Version: "v2", Kind: "Gizmo"}
	answer = []byte(head + "[" + one + "," + another + "]}}")
	if _, err := c.all([]api.Object{gizmo("a"), gizmo("b")}, to); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, says []byte, several bool) {
		answer = says
		in := []api.Object{gizmo("a")}
		if several {
			in = append(in, gizmo("b"))
		}
		out, err := c.all(in, to)
		if err != nil {
			return
		}
		for i, o := range out {
			if o.GetObjectKind().GroupVersionKind().Version != "v2" || o.GetName() != in[i].GetName() || o.GetUID() != in[i].GetUID() {
				t.Errorf("%v came back as %v", in[i], o)
			}
		}
		if len(out) != len(in) {
			t.Errorf("%d objects came back as %d", len(in), len(out))
		}
	})
}

func gizmo(name string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Gizmo", "metadata": map[string]any{"name": name, "uid": "u-" + name}}}
	return u
}
