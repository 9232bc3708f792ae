package admissionregistration

import (
	"reflect"
	"slices"

	"clipper/catalogue/rule"
)

// A leniency is what an update may keep because it was so before: what is stored must stay writable when
// the rules for new objects get stricter.
type leniency struct {
	conditions  bool            // no condition has changed: they are not compiled again
	effects     bool            // side effects of all sorts
	versions    bool            // review versions that this server does not know
	names       bool            // two webhooks of one name
	selectors   bool            // label values that are none
	expressions map[string]bool // texts that were there
}

func lenient(next, old []hook) leniency {
	allow := leniency{conditions: len(next) == len(old), expressions: map[string]bool{}}
	names := rule.Seen[string]{}
	for i, h := range old {
		allow.conditions = allow.conditions && reflect.DeepEqual(next[i].conditions, h.conditions)
		allow.effects = allow.effects || h.effects == nil || !slices.Contains(harmless, *h.effects)
		allow.versions = allow.versions || len(h.versions) > 0 && !slices.Contains(h.versions, "v1") && !slices.Contains(h.versions, "v1beta1")
		allow.names = names.Again(h.name) || allow.names
		allow.selectors = allow.selectors || rule.LaxSelector(h.namespaces) || rule.LaxSelector(h.objects)
		for _, c := range h.conditions {
			allow.expressions[c.Expression] = true
		}
	}
	return allow
}
