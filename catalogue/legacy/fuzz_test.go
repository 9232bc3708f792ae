package legacy_test

import (
	"bytes"
	"math/rand"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/randfill/bytesource"

	"clipper/api"
	_ "clipper/apiserver/customresource" // whose kinds, v1beta1 among them, are in the scheme, too
	"clipper/catalogue/all"
	"clipper/catalogue/legacy"
	"clipper/store"
	"clipper/store/codec"
	"clipper/test/mutation"
)

// FuzzUpgrade: whatever a server of any time has stored, and whatever became of it, is read or refused. What is read is
// read as the same again once it has been written.
func FuzzUpgrade(f *testing.F) {
	upgrades := legacy.Upgrades(all.Resources(), corev1.IPv4Protocol)
	var kinds []schema.GroupVersionKind
	for gvk := range upgrades {
		if scheme.Scheme.Recognizes(gvk) {
			kinds = append(kinds, gvk)
		}
	}
	slices.SortFunc(kinds, func(a, b schema.GroupVersionKind) int { return strings.Compare(a.String(), b.String()) })
	constants, err := mutation.ReadConstants()
	if err != nil {
		f.Fatal(err)
	}
	for i := range kinds {
		f.Add(uint8(i), []byte("some choice of what is in it"))
	}
	plain, upgrading := codec.New(scheme.Scheme), codec.NewUpgrading(scheme.Scheme, upgrades)
	f.Fuzz(func(t *testing.T, kind uint8, choices []byte) {
		gvk := kinds[int(kind)%len(kinds)]
		r := rand.New(bytesource.New(choices))
		found, err := scheme.Scheme.New(gvk)
		if err != nil {
			t.Fatal(err)
		}
		old := found.(api.Object)
		change := &mutation.Mutator{Rand: r, Constants: constants}
		change.Change(old, r.Intn(12))
		old.GetObjectKind().SetGroupVersionKind(gvk)
		data, err := plain.Encode(store.Key{}, old)
		if err != nil {
			t.Skip(err) // raw JSON that is none
		}
		if obj, err := upgrading.Decode(store.Key{}, data); err == nil {
			settled(t, upgrading, obj)
		}
		data = bytes.Clone(data)
		for range 1 + r.Intn(4) {
			data[r.Intn(len(data))] = byte(r.Intn(256))
		}
		if obj, err := upgrading.Decode(store.Key{}, data); err == nil {
			settled(t, upgrading, obj)
		}
	})
}

func settled(t *testing.T, c store.Codec, obj api.Object) {
	data, err := c.Encode(store.Key{}, obj)
	if err != nil {
		return // strings that are no UTF-8, which a broken value may have
	}
	again, err := c.Decode(store.Key{}, data)
	if err != nil {
		t.Fatalf("%T was read, and not again: %v", obj, err)
	}
	if !equality.Semantic.DeepEqual(obj, again) {
		t.Errorf("read again it is another:\n%+v\n%+v", obj, again)
	}
}
