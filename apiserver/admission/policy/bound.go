package policy

import (
	"fmt"
	"sync"
	"sync/atomic"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission/plugin/policy/generic"
	"k8s.io/client-go/informers"

	"clipper/api"
	"clipper/apiserver/admission/extension"
	"clipper/apiserver/served"
)

// A policyObject is a policy or a binding of either sort.
type policyObject interface {
	comparable
	api.Object
}

// bound are the policies of one sort that some binding uses, with their bindings, made anew when a policy
// or a binding changes, or what is served: that decides where parameters are.
type bound[P, B policyObject, E generic.Evaluator] struct {
	client   extension.Client
	objects  extension.Objects
	policies api.TypedView[P]
	bindings api.TypedView[B]
	policyOf func(B) string
	params   func(P) *admissionregistrationv1.ParamKind
	compile  func(P) E

	mu      sync.Mutex
	current atomic.Pointer[state[P, B, E]]
}

type state[P, B policyObject, E generic.Evaluator] struct {
	policies, bindings int64
	table              *served.Table
	hooks              []generic.PolicyHook[P, B, E]
}

func version(v api.View) int64 {
	if versioned, ok := v.(api.Versioned); ok {
		return versioned.Version()
	}
	return -1
}

func (b *bound[P, B, E]) hooks() []generic.PolicyHook[P, B, E] {
	if s := b.current.Load(); s != nil && b.fresh(s) {
		return s.hooks
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.current.Load()
	if old != nil && b.fresh(old) {
		return old.hooks
	}
	// Versions first: what is read then may be newer, never older.
	s := &state[P, B, E]{policies: version(b.policies.View), bindings: version(b.bindings.View), table: b.client.Table()}
	s.hooks = b.read(old)
	b.current.Store(s)
	return s.hooks
}

func (b *bound[P, B, E]) fresh(s *state[P, B, E]) bool {
	return s.policies >= 0 && s.policies == version(b.policies.View) && s.bindings == version(b.bindings.View) && s.table == b.client.Table()
}

// read lists the policies in order of name. The evaluator of a policy that has not changed is kept.
func (b *bound[P, B, E]) read(old *state[P, B, E]) (hooks []generic.PolicyHook[P, B, E]) {
	compiled := map[P]E{}
	if old != nil {
		for i := range old.hooks {
			compiled[old.hooks[i].Policy] = old.hooks[i].Evaluator
		}
	}
	used := map[string][]B{}
	for _, binding := range b.bindings.List("") {
		used[b.policyOf(binding)] = append(used[b.policyOf(binding)], binding)
	}
	for _, p := range b.policies.List("") {
		if len(used[p.GetName()]) == 0 {
			continue
		}
		hook := generic.PolicyHook[P, B, E]{Policy: p, Bindings: used[p.GetName()]}
		hook.ParamInformer, hook.ParamScope, hook.ConfigurationError = b.parameters(b.params(p))
		var ok bool
		if hook.Evaluator, ok = compiled[p]; !ok {
			hook.Evaluator = b.compile(p)
		}
		hooks = append(hooks, hook)
	}
	return hooks
}

// parameters finds where the objects of a policy's paramKind are.
func (b *bound[P, B, E]) parameters(kind *admissionregistrationv1.ParamKind) (informers.GenericInformer, meta.RESTScope, error) {
	if kind == nil {
		return nil, nil, nil
	}
	gv, err := schema.ParseGroupVersion(kind.APIVersion)
	if err != nil {
		return nil, nil, fmt.Errorf("failed to parse paramKind APIVersion: %w", err)
	}
	gvk := gv.WithKind(kind.Kind)
	k := b.objects.Kind(gvk)
	if k == nil || k.Prefix == "" {
		return nil, nil, fmt.Errorf("failed to find resource referenced by paramKind: '%v'", gvk)
	}
	scope := meta.RESTScopeRoot
	if k.Namespaced {
		scope = meta.RESTScopeNamespace
	}
	return parameters{kind: k, view: b.client.View(k.Resource.Resource)}, scope, nil
}
