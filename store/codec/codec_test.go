package codec

import (
	"bytes"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"

	"clipper/api"
	"clipper/store"
)

func samplePod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a", Labels: map[string]string{"x": "y", "a": "b"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "nginx"}}},
	}
}

// TestUpstreamForm: the bytes are those that upstream's serializer writes, and it can read ours.
func TestUpstreamForm(t *testing.T) {
	c := New(scheme.Scheme)
	ours, err := c.Encode(store.Key{}, samplePod())
	if err != nil {
		t.Fatal(err)
	}
	var theirs bytes.Buffer
	upstream := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)
	named := samplePod()
	named.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	if err := upstream.Encode(named, &theirs); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ours, theirs.Bytes()) {
		t.Errorf("ours:\n%q\nupstream's:\n%q", ours, theirs.Bytes())
	}
	if again, err := c.Encode(store.Key{}, named); err != nil || !bytes.Equal(again, ours) {
		t.Errorf("with kind: %q, %v", again, err)
	}
}

func TestRoundTrip(t *testing.T) {
	custom := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "stable.example.com/v1", "kind": "CronTab",
		"metadata": map[string]any{"name": "a", "namespace": "ns"}, "spec": map[string]any{"replicas": int64(3), "share": 0.5},
	}}
	c := New(scheme.Scheme)
	for _, obj := range []api.Object{samplePod(), custom} {
		b, err := c.Encode(store.Key{}, obj)
		if err != nil {
			t.Fatal(err)
		}
		back, err := c.Decode(store.Key{}, b)
		if err != nil || !apiequality.Semantic.DeepEqual(back, obj) {
			t.Errorf("%+v came back as %+v: %v", obj, back, err)
		}
	}
}

// TestInJSON: built-in objects are written in JSON with their kind, and come back as they were.
func TestInJSON(t *testing.T) {
	c := InJSON(scheme.Scheme, New(scheme.Scheme))
	data, err := c.Encode(store.Key{}, samplePod())
	if err != nil || !bytes.HasPrefix(data, []byte(`{"kind":"Pod","apiVersion":"v1",`)) {
		t.Fatalf("%s %v", data, err)
	}
	back, err := c.Decode(store.Key{}, data)
	if err != nil || !apiequality.Semantic.DeepEqual(back, samplePod()) {
		t.Errorf("%+v %v", back, err)
	}
}

func TestTypedJSON(t *testing.T) {
	back, err := New(scheme.Scheme).Decode(store.Key{}, []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}`))
	if p, ok := back.(*corev1.Pod); err != nil || !ok || p.Name != "a" || p.Kind != "" {
		t.Errorf("%+v %v", back, err)
	}
}

func FuzzDecode(f *testing.F) {
	c := New(scheme.Scheme)
	seed, _ := c.Encode(store.Key{}, samplePod())
	f.Add(seed)
	f.Add([]byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}`))
	f.Add([]byte(`{"apiVersion":"example.com/v1","kind":"X","metadata":{"name":"a"}}`))
	f.Add([]byte("k8s\x00\n\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		obj, err := c.Decode(store.Key{}, data)
		if err != nil {
			return
		}
		b, err := c.Encode(store.Key{}, obj)
		if err != nil {
			t.Fatalf("%q decodes and cannot be encoded: %v", data, err)
		}
		back, err := c.Decode(store.Key{}, b)
		if err != nil {
			t.Fatalf("%q: encoded form does not decode: %v", data, err)
		}
		if _, ok := runtime.Object(back).(api.Object); !ok || back.GetName() != obj.GetName() {
			t.Fatalf("%q: %q came back as %q", data, obj.GetName(), back.GetName())
		}
	})
}

// TestCBOR: custom resources that an upstream server has stored in CBOR are read, and written as JSON.
func TestCBOR(t *testing.T) {
	want := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "x.io/v1", "kind": "Thing", "metadata": map[string]any{"name": "t"}, "spec": map[string]any{"n": int64(1) << 60, "s": "é"}}}
	var data bytes.Buffer
	if err := cbor.NewSerializer(nil, nil).Encode(want, &data); err != nil {
		t.Fatal(err)
	}
	c := New(scheme.Scheme)
	got, err := c.Decode(store.Key{}, data.Bytes())
	if err != nil || !apiequality.Semantic.DeepEqual(got, want) {
		t.Fatalf("%v, %v", got, err)
	}
	if written, err := c.Encode(store.Key{}, got.(api.Object)); err != nil || written[0] != '{' {
		t.Errorf("%q, %v", written, err)
	}
	for _, bad := range []string{"\xd9\xd9\xf7", "\xd9\xd9\xf7\xa0", "\xd9\xd9\xf7\x80"} {
		if _, err := c.Decode(store.Key{}, []byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// TestInCBOR: with upstream's feature gate, custom resources are written as upstream's server writes them then; nothing
// else is.
func TestInCBOR(t *testing.T) {
	c := InCBOR(New(scheme.Scheme))
	custom := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.com/v1", "kind": "Thing", "metadata": map[string]any{"name": "a"}, "spec": map[string]any{"n": int64(1), "x": 0.5, "l": []any{"a", nil, true}},
	}}
	var theirs bytes.Buffer
	if err := cbor.NewSerializer(nil, nil).Encode(custom, &theirs); err != nil {
		t.Fatal(err)
	}
	ours, err := c.Encode(store.Key{}, custom)
	if err != nil || !bytes.Equal(ours, theirs.Bytes()) {
		t.Errorf("ours %x, upstream's %x, %v", ours, theirs.Bytes(), err)
	}
	for _, reader := range []store.Codec{c, New(scheme.Scheme)} {
		if got, err := reader.Decode(store.Key{}, ours); err != nil || !apiequality.Semantic.DeepEqual(got, custom) {
			t.Errorf("read again: %v, %v", got, err)
		}
	}
	pod, err := c.Encode(store.Key{}, samplePod())
	if want, _ := New(scheme.Scheme).Encode(store.Key{}, samplePod()); err != nil || !bytes.Equal(pod, want) {
		t.Errorf("a pod: %x, %v", pod, err)
	}
}
