package policy

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	upstream "k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/rules"

	"clipper/api"
	"clipper/apiserver/admission/webhook"
)

// compiled are the policies that some binding uses, made anew when a policy or a binding changes. A
// policy's expressions are compiled when it first applies to a write.
type compiled struct {
	policies api.TypedView[*admissionregistrationv1.ValidatingAdmissionPolicy]
	bindings api.TypedView[*admissionregistrationv1.ValidatingAdmissionPolicyBinding]

	mu      sync.Mutex
	current atomic.Pointer[state]
}

type state struct {
	policies, bindings int64
	list               []*ruleset
}

// A ruleset is one policy with its bindings.
type ruleset struct {
	policy   *admissionregistrationv1.ValidatingAdmissionPolicy
	match    *match
	bindings []*binding
	program  func() *program
}

type binding struct {
	binding *admissionregistrationv1.ValidatingAdmissionPolicyBinding
	match   *match // nil: whatever the policy matches
}

func version(v api.View) int64 {
	if versioned, ok := v.(api.Versioned); ok {
		return versioned.Version()
	}
	return -1
}

func (c *compiled) all() []*ruleset {
	pv, bv := version(c.policies.View), version(c.bindings.View)
	if s := c.current.Load(); s != nil && pv >= 0 && s.policies == pv && s.bindings == bv {
		return s.list
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &state{policies: version(c.policies.View), bindings: version(c.bindings.View)} // before the objects
	known := map[*admissionregistrationv1.ValidatingAdmissionPolicy]*ruleset{}
	if old := c.current.Load(); old != nil {
		for _, r := range old.list {
			known[r.policy] = r // the same object: what was compiled is still right
		}
	}
	used := map[string][]*binding{}
	for _, b := range c.bindings.List("") {
		used[b.Spec.PolicyName] = append(used[b.Spec.PolicyName], &binding{b, newMatch(b.Spec.MatchResources)})
	}
	for _, p := range c.policies.List("") {
		if len(used[p.Name]) == 0 {
			continue
		}
		r := &ruleset{policy: p, match: newMatch(p.Spec.MatchConstraints), bindings: used[p.Name]}
		if old := known[p]; old != nil {
			r.program = old.program
		} else {
			r.program = sync.OnceValue(func() *program { return compile(p) })
		}
		s.list = append(s.list, r)
	}
	c.current.Store(s)
	return s.list
}

// broken is what a fault in a policy or binding itself leads to: a denial, unless the policy fails open.
func (r *ruleset) broken(format string, err error) *denial {
	if f := r.policy.Spec.FailurePolicy; f != nil && *f == admissionregistrationv1.Ignore {
		return nil
	}
	return &denial{message: fmt.Errorf(format, err).Error()}
}

// A match is what a policy or a binding chooses.
type match struct {
	resources         *admissionregistrationv1.MatchResources
	namespace, object func() (labels.Selector, error)
}

func newMatch(m *admissionregistrationv1.MatchResources) *match {
	if m == nil {
		return nil
	}
	parse := func(s *metav1.LabelSelector) func() (labels.Selector, error) {
		return sync.OnceValues(func() (labels.Selector, error) {
			if s == nil {
				return labels.Everything(), nil
			}
			return metav1.LabelSelectorAsSelector(s)
		})
	}
	return &match{m, parse(m.NamespaceSelector), parse(m.ObjectSelector)}
}

func (m *match) GetParsedNamespaceSelector() (labels.Selector, error) { return m.namespace() }
func (m *match) GetParsedObjectSelector() (labels.Selector, error)    { return m.object() }

// matches applies selectors, exclusions and rules. No rules at all match everything.
func (p *Plugin) matches(m *match, attrs *upstream.VersionedAttributes) (bool, error) {
	if m == nil {
		return true, nil
	}
	if ok, err := webhook.NamespaceMatches(m, attrs, p.namespaces); err != nil || !ok {
		return false, err
	}
	if ok, err := webhook.ObjectMatches(m, attrs); err != nil || !ok {
		return false, err
	}
	if anyRule(m.resources.ExcludeResourceRules, attrs) {
		return false, nil
	}
	return len(m.resources.ResourceRules) == 0 || anyRule(m.resources.ResourceRules, attrs), nil
}

func anyRule(list []admissionregistrationv1.NamedRuleWithOperations, attrs upstream.Attributes) bool {
	return slices.ContainsFunc(list, func(r admissionregistrationv1.NamedRuleWithOperations) bool {
		m := rules.Matcher{Rule: r.RuleWithOperations, Attr: attrs}
		return m.Matches() && (len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, attrs.GetName()))
	})
}

func labelsOf(o api.Object) labels.Set { return labels.Set(o.GetLabels()) }
