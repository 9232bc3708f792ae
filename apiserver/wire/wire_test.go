package wire

import (
	"bytes"
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
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

// TestCBOR: upstream's decoder finds in our pieces what its own encoder would have put there.
func TestCBOR(t *testing.T) {
	reader := cbor.NewSerializer(scheme.Scheme, scheme.Scheme)
	full, err := cmKind.CBOR(sample())
	if err != nil {
		t.Fatal(err)
	}
	want := sample()
	want.SetGroupVersionKind(cmKind.GVK)
	if got, gvk, err := reader.Decode(full, nil, nil); err != nil || *gvk != cmKind.GVK || !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("object: %v %v, %v; want %v", got, gvk, err, want)
	}
	list := NewKind(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMapList"})
	items := make([][]byte, 300) // more than a head of two bytes counts
	for i := range items {
		items[i] = full
	}
	encoded, err := list.CBORList(metav1.ListMeta{ResourceVersion: "7"}, cmKind, items)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := reader.Decode(encoded, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if l := got.(*corev1.ConfigMapList); l.ResourceVersion != "7" || len(l.Items) != 300 || !equality.Semantic.DeepEqual(&l.Items[299], sample()) {
		t.Errorf("list %v", l)
	}
	var event metav1.WatchEvent
	if err := direct.Unmarshal(CBOREvent(nil, "ADDED", full), &event); err != nil || event.Type != "ADDED" || !bytes.Equal(event.Object.Raw, full) {
		t.Errorf("event %v, %v", event, err)
	}
}

// TestCBORCustom: custom resources keep their kind, in lists too.
func TestCBORCustom(t *testing.T) {
	kind := NewKind(schema.GroupVersionKind{Group: "x.io", Version: "v1", Kind: "Thing"})
	thing := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "x.io/v1", "kind": "Thing", "spec": map[string]any{"n": int64(1) << 40, "f": 1.5, "none": nil}}}
	full, err := kind.CBOR(thing)
	if err != nil {
		t.Fatal(err)
	}
	list, err := NewKind(kind.GVK.GroupVersion().WithKind("ThingList")).CBORList(map[string]any{"continue": ""}, kind, [][]byte{full})
	if err != nil {
		t.Fatal(err)
	}
	got := &unstructured.UnstructuredList{}
	if _, _, err := cbor.NewSerializer(nil, nil).Decode(list, nil, got); err != nil || len(got.Items) != 1 || !equality.Semantic.DeepEqual(got.Items[0].Object, thing.Object) {
		t.Errorf("%v, %v", got, err)
	}
}

// FuzzCutMap: no bytes make it panic, and the head that it reads is the one that is written.
func FuzzCutMap(f *testing.F) {
	f.Add([]byte{0xa2, 1, 2}, 3)
	f.Add([]byte{0xb8}, 24)
	f.Add([]byte{0xbf, 0xff}, 1<<16)
	f.Fuzz(func(t *testing.T, data []byte, n int) {
		_, _, _ = cutMap(data)
		n &= 1<<31 - 1
		if got, rest, err := cutMap(append(appendCBORHead(nil, cborMap, n), data...)); err != nil || got != n || !bytes.Equal(rest, data) {
			t.Errorf("%d: %d, % x, %v", n, got, rest, err)
		}
	})
}
