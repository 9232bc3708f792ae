package flowcontrol

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
)

// priorityLevels describes PriorityLevelConfiguration.
func priorityLevels() *catalogue.Resource {
	return catalogue.Describe[flowcontrolv1.PriorityLevelConfiguration, flowcontrolv1.PriorityLevelConfigurationList](catalogue.Kind[*flowcontrolv1.PriorityLevelConfiguration]{
		Resource: api.Resource{Group: "flowcontrol.apiserver.k8s.io", Version: "v1", Name: "prioritylevelconfigurations", Kind: "PriorityLevelConfiguration"},
		Default:  defaultPriorityLevel,
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
