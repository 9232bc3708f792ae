package wire

import (
	"bytes"
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
)

var cmKind = NewKind(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"})

func sample() *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "a<b>", Namespace: "x", Labels: map[string]string{"a": "b", "c": "d"}},
		Data:       map[string]string{"k": string(bytes.Repeat([]byte("v"), 300))},
	}
}

// TestEqualsUpstream compares every form with what upstream's own serializers write.
func TestEqualsUpstream(t *testing.T) {
	typed := sample()
	typed.SetGroupVersionKind(cmKind.GVK)

	var want bytes.Buffer
	if err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(typed, &want); err != nil {
		t.Fatal(err)
	}
	got, err := cmKind.Protobuf(sample())
	if err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("protobuf: err %v\n got %q\nwant %q", err, got, want.Bytes())
	}
	raw, _ := sample().Marshal()
	if !bytes.Equal(cmKind.BareProtobuf(got), raw) {
		t.Error("BareProtobuf is not the message alone")
	}

	wantJSON, _ := json.Marshal(typed)
	gotJSON, err := cmKind.JSON(sample())
	if err != nil || !bytes.Equal(gotJSON, wantJSON) {
		t.Errorf("json: err %v\n got %s\nwant %s", err, gotJSON, wantJSON)
	}
	bare, _ := json.Marshal(sample())
	if open, rest := cmKind.BareJSON(gotJSON); string(open)+string(rest) != string(bare) {
		t.Errorf("BareJSON: %c%s, want %s", open, rest, bare)
	}

	event := &metav1.WatchEvent{Type: "ADDED", Object: runtime.RawExtension{Raw: got}}
	inner, _ := event.Marshal()
	frame := ProtobufEvent(nil, "ADDED", got)
	if !bytes.Equal(frame[4:], inner) || len(frame)-4 != int(frame[2])<<8|int(frame[3]) {
		t.Errorf("event frame:\n got %q\nwant %q", frame, inner)
	}
}
