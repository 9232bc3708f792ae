package envelope

import (
	"bytes"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
)

var configMap = corev1.SchemeGroupVersion.WithKind("ConfigMap")

func sample() *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"a": "b"}},
		Data:       map[string]string{"k": string(bytes.Repeat([]byte("v"), 300))},
	}
}

// TestEqualsUpstream compares with what upstream's serializer writes.
func TestEqualsUpstream(t *testing.T) {
	named := sample()
	named.SetGroupVersionKind(configMap)
	var want bytes.Buffer
	if err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(named, &want); err != nil {
		t.Fatal(err)
	}
	h := NewHead(configMap)
	got, err := h.Marshal(sample())
	if err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("Marshal: err %v\n got %q\nwant %q", err, got, want.Bytes())
	}
	raw, _ := sample().Marshal()
	if !bytes.Equal(h.Message(got), raw) {
		t.Error("Message is not the message alone")
	}
	head, end := h.Around(len(raw))
	if !bytes.Equal(bytes.Join([][]byte{head, raw, end}, nil), got) {
		t.Errorf("Around: %q, %q", head, end)
	}
	if o, ok := open(got[len(Magic):]); !ok || o.Kind != "ConfigMap" || o.APIVersion != "v1" || !bytes.Equal(o.Raw, raw) {
		t.Errorf("the usual envelope is not opened quickly: %v %+v", ok, o)
	}
}

// FuzzOpen: whatever can be opened quickly is what the library makes of it.
func FuzzOpen(f *testing.F) {
	good, _ := NewHead(configMap).Marshal(sample())
	f.Add(good)
	f.Add(good[:len(good)-4])
	f.Add([]byte("k8s\x00"))
	f.Add([]byte("k8s\x00\x0a\x04\x0a\x00\x12\x00\x12\x00"))
	f.Add([]byte("k8s\x00\x0a\x06\x0a\x00\x12\x00\x1a\x00\x12\x01x\x1a\x00\x22\x01y"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := Open(data)
		if !bytes.HasPrefix(data, Magic) {
			if err == nil {
				t.Error("it has no magic number")
			}
			return
		}
		var u runtime.Unknown
		if wantErr := u.Unmarshal(data[len(Magic):]); (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: err %v, the library's %v", data, err, wantErr)
		} else if err == nil && (got.APIVersion != u.APIVersion || got.Kind != u.Kind || !bytes.Equal(got.Raw, u.Raw)) {
			t.Errorf("%q: %+v, the library's %+v", data, got, u)
		}
	})
}
