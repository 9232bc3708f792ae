package garbagecollector

import (
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
)

// An identity is one object, not merely its name.
type identity struct {
	Resource        api.Resource
	Namespace, Name string
	UID             types.UID
}

func identify(r api.Resource, o metav1.Object) identity {
	return identity{r, o.GetNamespace(), o.GetName(), o.GetUID()}
}

// A graph knows the dependents of every owner. Objects without owners take no place in it.
type graph struct {
	mu         sync.Mutex
	dependents map[types.UID]map[identity]struct{}
}

func newGraph() *graph { return &graph{dependents: map[types.UID]map[identity]struct{}{}} }

// update follows a change of id's object; old or new may be nil.
func (g *graph) update(id identity, old, new api.Object) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if old != nil {
		for _, ref := range old.GetOwnerReferences() {
			of := g.dependents[ref.UID]
			if delete(of, id); len(of) == 0 {
				delete(g.dependents, ref.UID)
			}
		}
	}
	if new != nil {
		for _, ref := range new.GetOwnerReferences() {
			if g.dependents[ref.UID] == nil {
				g.dependents[ref.UID] = map[identity]struct{}{}
			}
			g.dependents[ref.UID][id] = struct{}{}
		}
	}
}

// of returns the dependents of an owner.
func (g *graph) of(owner types.UID) []identity {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]identity, 0, len(g.dependents[owner]))
	for id := range g.dependents[owner] {
		out = append(out, id)
	}
	return out
}
