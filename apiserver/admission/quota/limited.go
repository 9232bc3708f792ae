package quota

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota/apis/resourcequota"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota/apis/resourcequota/install"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota/apis/resourcequota/validation"

	"clipper/api"
	"clipper/apiserver/admission"
	"clipper/apiserver/quota"
)

// readLimited reads the plug-in's configuration; nil for none.
func readLimited(raw []byte) ([]resourcequota.LimitedResource, error) {
	if raw == nil {
		return nil, nil
	}
	scheme := runtime.NewScheme()
	install.Install(scheme)
	obj, err := runtime.Decode(serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder(), raw)
	if err != nil {
		return nil, err
	}
	c, ok := obj.(*resourcequota.Configuration)
	if !ok {
		return nil, fmt.Errorf("unexpected type: %T", obj)
	}
	return c.LimitedResources, validation.ValidateConfiguration(c).ToAggregate()
}

// covered refuses what is limited in any case and what no quota of the namespace speaks about.
func (p *Plugin) covered(a *admission.Attributes, quotas []*corev1.ResourceQuota, usage, was corev1.ResourceList) error {
	if len(p.limited) == 0 || !grows(quota.Subtract(usage, was)) {
		return nil
	}
	uncovered, scopes := p.limitedNames(a.Resource, usage), p.limitedScopes(a.Object)
	for _, q := range quotas {
		for _, there := range quota.MatchingScopes(a.Object, quota.Scopes(q)) {
			scopes = slices.DeleteFunc(scopes, func(s corev1.ScopedResourceSelectorRequirement) bool { return s.ScopeName == there.ScopeName })
		}
		if quota.Matches(q, a.Object) {
			maps.DeleteFunc(uncovered, func(name string, _ bool) bool { _, ok := q.Spec.Hard[corev1.ResourceName(name)]; return ok })
		}
	}
	if len(uncovered) > 0 {
		return a.Forbiddenf("insufficient quota to consume: %v", strings.Join(slices.Sorted(maps.Keys(uncovered)), ","))
	}
	if len(scopes) > 0 {
		return fmt.Errorf("insufficient quota to match these scopes: %v", scopes) // no refusal upstream, but an internal error
	}
	return nil
}

// limitedNames are those of the resources in usage that need a quota.
func (p *Plugin) limitedNames(r api.Resource, usage corev1.ResourceList) map[string]bool {
	out := map[string]bool{}
	for _, l := range p.limited {
		if l.APIGroup != r.Group || l.Resource != r.Name {
			continue
		}
		for name, amount := range usage {
			contains := func(part string) bool { return strings.Contains(string(name), part) }
			if amount.Sign() > 0 && slices.ContainsFunc(l.MatchContains, contains) {
				out[string(name)] = true
			}
		}
	}
	return out
}

// limitedScopes are those scopes that o is in and that need a quota.
func (p *Plugin) limitedScopes(o api.Object) (out []corev1.ScopedResourceSelectorRequirement) {
	for _, l := range p.limited {
		out = append(out, quota.MatchingScopes(o, l.MatchScopes)...)
	}
	return out
}
