package satoken

import "github.com/prometheus/client_golang/prometheus"

// What the process counts about tokens that were shown, under upstream's names.
var (
	valid            = counter("valid_tokens_total", "Cumulative valid projected service account tokens used")
	stale            = counter("stale_tokens_total", "Cumulative stale projected service account tokens used")
	legacyUsed       = counter("legacy_tokens_total", "Cumulative legacy service account tokens used")
	legacyManual     = counter("legacy_manual_token_uses_total", "Cumulative manually created legacy tokens used")
	legacyAutomatic  = counter("legacy_auto_token_uses_total", "Cumulative auto-generated legacy tokens used")
	legacyOutOfForce = counter("invalid_legacy_auto_token_uses_total", "Cumulative invalid auto-generated legacy tokens used")
)

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: "serviceaccount_" + name, Help: help})
}

// Collectors are what the process counts about tokens that were shown.
func Collectors() []prometheus.Collector {
	return []prometheus.Collector{valid, stale, legacyUsed, legacyManual, legacyAutomatic, legacyOutOfForce}
}
