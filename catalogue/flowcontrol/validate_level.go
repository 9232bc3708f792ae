package flowcontrol

import (
	"fmt"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	"k8s.io/apiserver/pkg/util/shufflesharding"
	"k8s.io/utils/ptr"

	"clipper/catalogue/rule"
)

const (
	maxQueues  = 10_000_000
	rangeFault = "must be between 0 and 100, inclusive"
)

func validateLevel(p *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	f, kind := &rule.Faults{}, specPath.Child("type")
	const exempt, limited = flowcontrolv1.PriorityLevelEnablementExempt, flowcontrolv1.PriorityLevelEnablementLimited
	if (p.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt) != (p.Spec.Type == exempt) {
		f.Invalid(kind, p.Spec.Type, "must be 'Exempt' if and only if `name` is 'exempt'")
	}
	switch e, l := p.Spec.Exempt, p.Spec.Limited; p.Spec.Type {
	case exempt:
		if l != nil {
			f.Forbidden(specPath.Child("limited"), "must be nil if the type is not Limited")
		}
		if e != nil {
			shares(f, e.NominalConcurrencyShares, specPath.Child("exempt"))
			lendable(f, e.LendablePercent, specPath.Child("exempt"))
		}
	case limited:
		if e != nil {
			f.Forbidden(specPath.Child("exempt"), "must be nil if the type is Limited")
		}
		if l == nil {
			f.Required(specPath.Child("limited"), "must not be empty when type is Limited")
		} else {
			limitedLevel(f, l, specPath.Child("limited"))
		}
	default:
		rule.Choice(f, kind, p.Spec.Type, exempt, limited)
	}
	fixedLevel(f, p)
	return append(f.List, levelStatus(p)...)
}

// fixedLevel keeps the levels without which no request could be served as they are.
func fixedLevel(f *rule.Faults, p *flowcontrolv1.PriorityLevelConfiguration) {
	for _, fixed := range bootstrap.MandatoryPriorityLevelConfigurations {
		if fixed.Name != p.Name {
			continue
		}
		have, fault := p.Spec, "spec of '%s' must equal the fixed value"
		if p.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt {
			have.Exempt, fault = fixed.Spec.Exempt, "spec of '%s' except the 'spec.exempt' field must equal the fixed value"
		}
		if !equality.Semantic.DeepEqual(have, fixed.Spec) {
			f.Invalid(specPath, p.Spec, fmt.Sprintf(fault, p.Name))
		}
	}
}

func shares(f *rule.Faults, n *int32, at *field.Path) {
	if ptr.Deref(n, 0) < 0 {
		f.Invalid(at.Child("nominalConcurrencyShares"), *n, "must be a non-negative integer")
	}
}

func lendable(f *rule.Faults, percent *int32, at *field.Path) {
	if l := ptr.Deref(percent, 0); l < 0 || l > 100 {
		f.Invalid(at.Child("lendablePercent"), l, rangeFault)
	}
}

func limitedLevel(f *rule.Faults, l *flowcontrolv1.LimitedPriorityLevelConfiguration, at *field.Path) {
	shares(f, l.NominalConcurrencyShares, at)
	limitResponse(f, &l.LimitResponse, at.Child("limitResponse"))
	lendable(f, l.LendablePercent, at)
	if b := ptr.Deref(l.BorrowingLimitPercent, 0); b < 0 {
		f.Invalid(at.Child("borrowingLimitPercent"), b, "if specified, must be a non-negative integer")
	}
}

func limitResponse(f *rule.Faults, r *flowcontrolv1.LimitResponse, at *field.Path) {
	queuing := at.Child("queuing")
	switch r.Type {
	case flowcontrolv1.LimitResponseTypeReject:
		if r.Queuing != nil {
			f.Forbidden(queuing, "must be nil if limited.limitResponse.type is not Limited")
		}
	case flowcontrolv1.LimitResponseTypeQueue:
		if r.Queuing == nil {
			f.Required(queuing, "must not be empty if limited.limitResponse.type is Limited")
		} else {
			queues(f, r.Queuing, queuing)
		}
	default:
		rule.Choice(f, at.Child("type"), r.Type, flowcontrolv1.LimitResponseTypeQueue, flowcontrolv1.LimitResponseTypeReject)
	}
}

func queues(f *rule.Faults, q *flowcontrolv1.QueuingConfiguration, at *field.Path) {
	if q.QueueLengthLimit <= 0 {
		f.Invalid(at.Child("queueLengthLimit"), q.QueueLengthLimit, "must be positive")
	}
	switch {
	case q.Queues <= 0:
		f.Invalid(at.Child("queues"), q.Queues, "must be positive")
	case q.Queues > maxQueues:
		f.Invalid(at.Child("queues"), q.Queues, fmt.Sprintf("must not be greater than %d", maxQueues))
	}
	hand := at.Child("handSize")
	switch {
	case q.HandSize <= 0:
		f.Invalid(hand, q.HandSize, "must be positive")
	case q.HandSize > q.Queues:
		f.Invalid(hand, q.HandSize, fmt.Sprintf("should not be greater than queues (%d)", q.Queues))
	case shufflesharding.RequiredEntropyBits(int(q.Queues), int(q.HandSize)) > shufflesharding.MaxHashBits:
		f.Invalid(hand, q.HandSize, fmt.Sprintf("required entropy bits of deckSize %d and handSize %d should not be greater than %d",
			q.Queues, q.HandSize, shufflesharding.MaxHashBits))
	}
}

func levelStatus(p *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	types := make([]string, len(p.Status.Conditions))
	for i, c := range p.Status.Conditions {
		types[i] = string(c.Type)
	}
	return conditions(types)
}
