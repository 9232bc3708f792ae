package daemon

import (
	"k8s.io/apiserver/pkg/features"
	"k8s.io/client-go/kubernetes/scheme"

	"clipper/apiserver/feature"
	"clipper/catalogue/legacy"
	"clipper/store"
	"clipper/store/codec"
)

// storedForm is how objects are written to the log. What is there may have come from an upstream's etcd.
func storedForm() store.Codec {
	c := codec.NewUpgrading(scheme.Scheme, legacy.Upgrades(described()))
	if feature.Gate.Enabled(features.CBORServingAndStorage) {
		c = codec.InCBOR(c)
	}
	return c
}
