package apiserver

import (
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/util/compatibility"
)

// Version is what /version says of this build: beside where it comes from, which of Kubernetes' versions it
// behaves like, and up to which older one it works with others.
func Version() version.Info {
	return *compatibility.DefaultBuildEffectiveVersion().Info()
}
