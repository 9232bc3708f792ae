// Package configfiletest tells tests what servers of their process counted of configuration files read again.
package configfiletest

import (
	"testing"

	"k8s.io/component-base/metrics/legacyregistry"
)

// Reloads returns the values of the counter of this name by its label status.
func Reloads(t testing.TB, name string) map[string]float64 {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "status" {
					out[l.GetValue()] += m.GetCounter().GetValue()
				}
			}
		}
	}
	return out
}
