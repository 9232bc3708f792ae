package flowcontrol

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"

	"clipper/api"
	"clipper/catalogue"
)

// priorityLevels describes PriorityLevelConfiguration.
func priorityLevels() *catalogue.Resource {
	return catalogue.Describe[flowcontrolv1.PriorityLevelConfiguration, flowcontrolv1.PriorityLevelConfigurationList](catalogue.Kind[*flowcontrolv1.PriorityLevelConfiguration]{
		Resource: api.Resource{Group: "flowcontrol.apiserver.k8s.io", Version: "v1", Name: "prioritylevelconfigurations", Kind: "PriorityLevelConfiguration"},
		Spec: catalogue.PartOf(func(o *flowcontrolv1.PriorityLevelConfiguration) *flowcontrolv1.PriorityLevelConfigurationSpec {
			return &o.Spec
		}),
		Status: catalogue.PartOf(func(o *flowcontrolv1.PriorityLevelConfiguration) *flowcontrolv1.PriorityLevelConfigurationStatus {
			return &o.Status
		}),
		Generation: catalogue.PartOf(func(o *flowcontrolv1.PriorityLevelConfiguration) *flowcontrolv1.PriorityLevelConfigurationSpec {
			return &o.Spec
		}),
	})
}
