package flowcontrol

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
)

// flowSchemas describes FlowSchema.
func flowSchemas() *catalogue.Resource {
	return catalogue.Describe[flowcontrolv1.FlowSchema, flowcontrolv1.FlowSchemaList](catalogue.Kind[*flowcontrolv1.FlowSchema]{
		Resource:   api.Resource{Group: "flowcontrol.apiserver.k8s.io", Version: "v1", Name: "flowschemas", Kind: "FlowSchema"},
		Default:    defaultFlowSchema,
		Spec:       catalogue.PartOf(func(o *flowcontrolv1.FlowSchema) *flowcontrolv1.FlowSchemaSpec { return &o.Spec }),
		Status:     catalogue.PartOf(func(o *flowcontrolv1.FlowSchema) *flowcontrolv1.FlowSchemaStatus { return &o.Status }),
		Generation: catalogue.PartOf(func(o *flowcontrolv1.FlowSchema) *flowcontrolv1.FlowSchemaSpec { return &o.Spec }),
	})
}

func defaultFlowSchema(f *flowcontrolv1.FlowSchema) {
	rule.SetIfEmpty(&f.Spec.MatchingPrecedence, 1000)
}
