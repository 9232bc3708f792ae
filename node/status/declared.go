package status

import (
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/component-helpers/nodedeclaredfeatures"
	"k8s.io/component-helpers/nodedeclaredfeatures/types"

	"clipper/node/runtime"
)

// gates are the features that a v1.36 node declares by default and that this one has as well. Schedulers and
// admission look for them before they place or change a pod that needs one.
var gates = types.FeatureGateMap{
	"InPlacePodLevelResourcesVerticalScaling": true,
	"InPlacePodVerticalScalingInitContainers": true,
	"RestartAllContainersOnContainerExits":    true,
}

// declaredFeatures returns the names that stand in a node's status.declaredFeatures.
func declaredFeatures(of runtime.Features) []string {
	return nodedeclaredfeatures.DefaultFramework.DiscoverNodeFeatures(&types.NodeConfiguration{
		FeatureGates:    gates,
		Version:         version.MustParse(KubeletVersion),
		RuntimeFeatures: types.RuntimeFeatures{UserNamespacesHostNetwork: of.UserNamespacesHostNetwork},
	})
}
