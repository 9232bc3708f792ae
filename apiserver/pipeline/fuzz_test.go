package pipeline

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
	"clipper/apiserver/served"
	"clipper/catalogue"
)

var podResource = &catalogue.Resource{
	Resource: api.Pods.Resource,
	Prefix:   "pods",
	New:      func() api.Object { return &corev1.Pod{} },
	Fields:   map[string]func(api.Object) string{"spec.nodeName": func(o api.Object) string { return o.(*corev1.Pod).Spec.NodeName }},
}

// FuzzContinue: what parses means the same when written again.
func FuzzContinue(f *testing.F) {
	f.Add(continueToken{revision: 7, namespace: "ns", name: "a"}.String(), true)
	f.Add(continueToken{revision: -1, name: "a"}.String(), false)
	f.Add("zzz", true)
	f.Fuzz(func(t *testing.T, s string, namespaced bool) {
		token, err := parseContinue(s, namespaced)
		if err != nil {
			return
		}
		again, err := parseContinue(token.String(), namespaced)
		if err != nil || again != token {
			t.Errorf("%q: %+v, again %+v (%v)", s, token, again, err)
		}
	})
}

func FuzzSelection(f *testing.F) {
	f.Add("a=b,c in (d,e),!f", "metadata.name=x,spec.nodeName!=")
	f.Add("", "metadata.namespace==y")
	f.Fuzz(func(t *testing.T, labels, fields string) {
		sel, err := ParseSelection(&Request{Resource: podResource}, &metav1.ListOptions{LabelSelector: labels, FieldSelector: fields})
		if err == nil {
			sel.Matches(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x", Labels: map[string]string{"a": "b"}}})
		}
	})
}

// FuzzPatch: no patch of any type makes the server panic.
func FuzzPatch(f *testing.F) {
	f.Add(0, []byte(`[{"op":"add","path":"/metadata/labels/x","value":"y"}]`))
	f.Add(1, []byte(`{"spec":{"containers":null}}`))
	f.Add(2, []byte(`{"spec":{"containers":[{"name":"c","$patch":"delete"}],"$setElementOrder/containers":[{"name":"c"}]}}`))
	f.Add(3, []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: i}]}"))
	table, err := served.NewTable([]*catalogue.Resource{podResource})
	if err != nil {
		f.Fatal(err)
	}
	p := New(Config{Served: served.NewLive(table)})
	old := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "u"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	kinds := []types.PatchType{types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType, types.ApplyPatchType}
	f.Fuzz(func(t *testing.T, kind int, data []byte) {
		req := &Request{Resource: podResource, Name: "p", Manager: "m"}
		before := old.DeepCopy()
		pa := &patch{w: p.begin(req, nil, ""), kind: p.kind(req), patchType: kinds[uint(kind)%4], data: data}
		_, _ = pa.apply(old)
		if !equal(before, old) {
			t.Fatalf("the stored object was changed by %s", data)
		}
	})
}
