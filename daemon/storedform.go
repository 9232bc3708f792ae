package daemon

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/client-go/kubernetes/scheme"

	"clipper/apiserver/feature"
	"clipper/catalogue/legacy"
	"clipper/store"
	"clipper/store/codec"
)

// storedForm is how objects are written to the log, in a cluster whose services have their addresses from a range. What is
// there may have come from an upstream's etcd.
func storedForm(services netip.Prefix, mediaType string) store.Codec {
	primary := corev1.IPv4Protocol
	if services.Addr().Is6() {
		primary = corev1.IPv6Protocol
	}
	c := codec.NewUpgrading(scheme.Scheme, legacy.Upgrades(described(), primary))
	if mediaType == runtime.ContentTypeJSON {
		c = codec.InJSON(scheme.Scheme, c)
	}
	if feature.Gate.Enabled(features.CBORServingAndStorage) {
		c = codec.InCBOR(c)
	}
	return c
}
