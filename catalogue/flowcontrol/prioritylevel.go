package flowcontrol

import (
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// priorityLevels describes PriorityLevelConfiguration.
func priorityLevels() *catalogue.Resource {
	return catalogue.Describe[flowcontrolv1.PriorityLevelConfiguration, flowcontrolv1.PriorityLevelConfigurationList](catalogue.Kind[*flowcontrolv1.PriorityLevelConfiguration]{
		Resource:       api.Resource{Group: "flowcontrol.apiserver.k8s.io", Version: "v1", Name: "prioritylevelconfigurations", Kind: "PriorityLevelConfiguration"},
		ValidateCreate: validateLevel,
		Metadata:       catalogue.OnlyWhole,
		ValidateUpdate: func(o, _ *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList { return validateLevel(o) },
		ValidateStatus: func(o, _ *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList { return levelStatus(o) },
		PrepareStatus: func(o, old *flowcontrolv1.PriorityLevelConfiguration) {
			metav1.ResetObjectMetaForStatus(&o.ObjectMeta, &old.ObjectMeta)
		},
		Columns: priorityLevelColumns,
		Row:     priorityLevelRow,
		Default: defaultPriorityLevel,
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

func defaultPriorityLevel(p *flowcontrolv1.PriorityLevelConfiguration) {
	if e := p.Spec.Exempt; e != nil {
		rule.SetIfNil(&e.NominalConcurrencyShares, 0)
		rule.SetIfNil(&e.LendablePercent, 0)
	}
	l := p.Spec.Limited
	if l == nil {
		return
	}
	rule.SetIfNil(&l.NominalConcurrencyShares, 30)
	rule.SetIfNil(&l.LendablePercent, 0)
	if q := l.LimitResponse.Queuing; q != nil {
		rule.SetIfEmpty(&q.HandSize, 8)
		rule.SetIfEmpty(&q.Queues, 64)
		rule.SetIfEmpty(&q.QueueLengthLimit, 50)
	}
}

var priorityLevelColumns = []table.Column{
	table.Name,
	table.String("Type", table.Doc(flowcontrolv1.PriorityLevelConfigurationSpec{}, "type")),
	table.String("NominalConcurrencyShares", table.Doc(flowcontrolv1.LimitedPriorityLevelConfiguration{}, "nominalConcurrencyShares")),
	table.String("Queues", table.Doc(flowcontrolv1.QueuingConfiguration{}, "queues")),
	table.String("HandSize", table.Doc(flowcontrolv1.QueuingConfiguration{}, "handSize")),
	table.String("QueueLengthLimit", table.Doc(flowcontrolv1.QueuingConfiguration{}, "queueLengthLimit")),
	table.Age,
}

func priorityLevelRow(p *flowcontrolv1.PriorityLevelConfiguration, now time.Time) []any {
	var shares, queues, hand, length any = table.None, table.None, table.None, table.None
	if l := p.Spec.Limited; l != nil {
		if l.NominalConcurrencyShares != nil {
			shares = int64(*l.NominalConcurrencyShares)
		}
		if q := l.LimitResponse.Queuing; q != nil {
			queues, hand, length = int64(q.Queues), int64(q.HandSize), int64(q.QueueLengthLimit)
		}
	}
	return []any{p.Name, string(p.Spec.Type), shares, queues, hand, length, table.Since(p.CreationTimestamp, now)}
}
