package flowcontrol

import (
	"cmp"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// flowSchemas describes FlowSchema.
func flowSchemas() *catalogue.Resource {
	return catalogue.Describe[flowcontrolv1.FlowSchema, flowcontrolv1.FlowSchemaList](catalogue.Kind[*flowcontrolv1.FlowSchema]{
		Resource:       api.Resource{Group: "flowcontrol.apiserver.k8s.io", Version: "v1", Name: "flowschemas", Kind: "FlowSchema"},
		ValidateCreate: validateSchema,
		Metadata:       catalogue.OnlyWhole,
		ValidateUpdate: func(o, _ *flowcontrolv1.FlowSchema) field.ErrorList { return validateSchema(o) },
		ValidateStatus: func(o, _ *flowcontrolv1.FlowSchema) field.ErrorList { return schemaStatus(o) },
		PrepareStatus: func(o, old *flowcontrolv1.FlowSchema) {
			metav1.ResetObjectMetaForStatus(&o.ObjectMeta, &old.ObjectMeta)
		},
		Columns:    flowSchemaColumns,
		Row:        flowSchemaRow,
		RowOrder:   byPrecedence,
		Default:    defaultFlowSchema,
		Spec:       catalogue.PartOf(func(o *flowcontrolv1.FlowSchema) *flowcontrolv1.FlowSchemaSpec { return &o.Spec }),
		Status:     catalogue.PartOf(func(o *flowcontrolv1.FlowSchema) *flowcontrolv1.FlowSchemaStatus { return &o.Status }),
		Generation: catalogue.PartOf(func(o *flowcontrolv1.FlowSchema) *flowcontrolv1.FlowSchemaSpec { return &o.Spec }),
	})
}

func defaultFlowSchema(f *flowcontrolv1.FlowSchema) {
	rule.SetIfEmpty(&f.Spec.MatchingPrecedence, 1000)
}

var flowSchemaColumns = []table.Column{
	table.Name,
	table.String("PriorityLevel", table.Doc(flowcontrolv1.PriorityLevelConfigurationReference{}, "name")),
	table.String("MatchingPrecedence", table.Doc(flowcontrolv1.FlowSchemaSpec{}, "matchingPrecedence")),
	table.String("DistinguisherMethod", table.Doc(flowcontrolv1.FlowSchemaSpec{}, "distinguisherMethod")),
	table.Age,
	table.String("MissingPL", "references a broken or non-existent PriorityLevelConfiguration"),
}

// byPrecedence is the order in which flow schemas are tried.
func byPrecedence(a, b *flowcontrolv1.FlowSchema) int {
	return cmp.Or(cmp.Compare(a.Spec.MatchingPrecedence, b.Spec.MatchingPrecedence), cmp.Compare(a.Name, b.Name))
}

func flowSchemaRow(f *flowcontrolv1.FlowSchema, now time.Time) []any {
	method := table.None
	if f.Spec.DistinguisherMethod != nil {
		method = string(f.Spec.DistinguisherMethod.Type)
	}
	missing := "?"
	for _, c := range f.Status.Conditions {
		if c.Type == flowcontrolv1.FlowSchemaConditionDangling {
			missing = string(c.Status)
			break
		}
	}
	return []any{
		f.Name, f.Spec.PriorityLevelConfiguration.Name, int64(f.Spec.MatchingPrecedence), method, table.Since(f.CreationTimestamp, now), missing,
	}
}
