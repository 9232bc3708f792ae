package flowcontrol

import (
	"slices"
	"testing"

	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
)

// TestDefaultsOfUpstreamAreValid: every cluster starts with these.
func TestDefaultsOfUpstreamAreValid(t *testing.T) {
	for _, s := range slices.Concat(bootstrap.MandatoryFlowSchemas, bootstrap.SuggestedFlowSchemas) {
		s := s.DeepCopy()
		defaultFlowSchema(s)
		if faults := validateSchema(s); len(faults) > 0 {
			t.Errorf("flow schema %s: %v", s.Name, faults)
		}
	}
	for _, p := range slices.Concat(bootstrap.MandatoryPriorityLevelConfigurations, bootstrap.SuggestedPriorityLevelConfigurations) {
		p := p.DeepCopy()
		defaultPriorityLevel(p)
		if faults := validateLevel(p); len(faults) > 0 {
			t.Errorf("priority level %s: %v", p.Name, faults)
		}
	}
}
