package pipeline

import (
	"testing"
	"time"

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
	f.Add(continueToken{revision: 7, namespace: "ns", name: "a", issued: time.Unix(1e9, 0)}.String(), true)
	f.Add(continueToken{revision: -1, name: "a"}.String(), false)
	f.Add("zzz", true)
	f.Fuzz(func(t *testing.T, s string, namespaced bool) {
		token, err := parseContinue(s, namespaced)
		if err != nil {
			return
		}
		again, err := parseContinue(token.String(), namespaced)
		if err != nil || !again.issued.Equal(token.issued) || again.revision != token.revision || again.name != token.name || again.namespace != token.namespace {
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
	f.Add(2, []byte(`{"spec":{"containers":[{"name":[]}]}}`)) // no key
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
		_, _ = pa.apply(t.Context(), old)
		if !equal(before, old) {
			t.Fatalf("the stored object was changed by %s", data)
		}
	})
}

// TestTokenAge: a token expires with its first page, whatever page it was made for.
func TestTokenAge(t *testing.T) {
	first := time.Unix(1e9, 0)
	for _, tt := range []struct {
		token continueToken
		age   time.Duration
		want  bool
	}{
		{continueToken{revision: 5, issued: first}, tokenLife, false},
		{continueToken{revision: 5, issued: first}, tokenLife + time.Second, true},
		{continueToken{revision: -1, issued: first}, 100 * tokenLife, false}, // was told to be inconsistent
	} {
		if got := tt.token.expired(first.Add(tt.age)); got != tt.want {
			t.Errorf("%+v after %v: %v", tt.token, tt.age, got)
		}
	}
}
