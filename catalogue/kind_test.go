package catalogue_test

import (
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/catalogue"
	"clipper/catalogue/all"
)

// TestGenerationOfWholeObjects: a write that changes nothing of an object that is all specification raises no generation,
// though what a client sends has a kind and what is stored has none.
func TestGenerationOfWholeObjects(t *testing.T) {
	var slices *catalogue.Resource
	for _, r := range all.Resources() {
		if r.Name == "endpointslices" {
			slices = r
		}
	}
	sent := func(kind string, address discoveryv1.AddressType) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			TypeMeta:    metav1.TypeMeta{Kind: kind},
			ObjectMeta:  metav1.ObjectMeta{Generation: 3, Annotations: map[string]string{"from": kind}},
			AddressType: address,
		}
	}
	for _, test := range []struct {
		next *discoveryv1.EndpointSlice
		want int64
	}{
		{sent("EndpointSlice", discoveryv1.AddressTypeIPv4), 3},
		{sent("EndpointSlice", discoveryv1.AddressTypeIPv6), 4},
	} {
		slices.PrepareUpdate(test.next, sent("", discoveryv1.AddressTypeIPv4))
		if test.next.Generation != test.want {
			t.Errorf("%s: generation %d, want %d", test.next.AddressType, test.next.Generation, test.want)
		}
	}
}
