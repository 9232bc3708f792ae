// Package modeltest drives an API server with random operations and compares every answer, every page of every list
// and every event of every watch with a model. The model (this file, owners_test.go, deletion_test.go,
// selection_test.go) is pure; a driver carries operations out on the server and on the model. What fails is made
// shorter before it is shown. The server is one of the test's own, or any that a kubeconfig names: run beside a
// real kube-apiserver, the test says whether the model is right.
package modeltest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A model is what a server should be: an obvious map, with the history of all that happened to it.
type model struct {
	objects map[modelKey]*modelObject
	history []modelChange
	// operation counts them.
	operation int
}

type modelKey struct{ kind, namespace, name string }

func (k modelKey) compare(o modelKey) int {
	return cmp.Or(cmp.Compare(k.namespace, o.namespace), cmp.Compare(k.name, o.name))
}

// A modelObject is reduced to what every kind has: labels, annotations, finalizers, a generation, owners of fields;
// for the custom resource a number in its spec and one in its status; for pods a node and a phase.
type modelObject struct {
	fields     map[string]string              // "labels/a", "annotations/b", "spec", "status"
	owners     map[string]map[modelOwner]bool // by field; of "labels" and "annotations", too: see appears
	finalizers []string
	deleting   bool
	grace      int64 // what is left of it to an object that is deleted gracefully
	generation int64
	node       string
	phase      string
	evicted    bool   // a condition says so
	version    string // as the server said; "" if it never did, for the object was something else at once
	uid        string
}

// A modelOwner is an entry of managedFields. One that applies is the same in all versions; it has that of its last apply.
type modelOwner struct {
	manager     string
	applied     bool
	version     string
	subresource string
}

// A modelChange is one event: was and is are nil where there was or is nothing. Those of one operation may come in
// any order if they are of several objects.
type modelChange struct {
	key       modelKey
	was, is   *modelObject
	operation int
}

func newModel() *model { return &model{objects: map[modelKey]*modelObject{}} }

// newObject is what a create by a manager makes of fields.
func newObject(kind string, fields map[string]string, by modelOwner) *modelObject {
	o := &modelObject{fields: map[string]string{}, owners: map[string]map[modelOwner]bool{}}
	if kinds[kind].spec || kinds[kind].pod {
		o.generation = 1
	}
	if kinds[kind].pod {
		o.phase = "Pending"
	}
	o.set(fields, by)
	return o
}

// fieldsOrNone are the fields of an object that may not be there.
func (o *modelObject) fieldsOrNone() map[string]string {
	if o == nil {
		return map[string]string{}
	}
	return o.fields
}

func (o *modelObject) clone() *modelObject {
	if o == nil {
		return nil
	}
	c := *o
	c.fields = maps.Clone(o.fields)
	c.finalizers = slices.Clone(o.finalizers)
	c.owners = map[string]map[modelOwner]bool{}
	for f, who := range o.owners {
		c.owners[f] = maps.Clone(who)
	}
	return &c
}

// put records a new state, or with nil an end.
func (m *model) put(k modelKey, o *modelObject) {
	m.history = append(m.history, modelChange{key: k, was: m.objects[k], is: o, operation: m.operation})
	if o == nil {
		delete(m.objects, k)
		return
	}
	m.objects[k] = o
}

// unchanged says whether a write would leave the object as it is.
func (o *modelObject) unchanged(next *modelObject) bool {
	return o.differs(next, false) == "" && o.evicted == next.evicted
}

// changed raises the generation where the spec of was is not that of o.
func (o *modelObject) changed(was *modelObject) {
	if o.generation > 0 && o.fields["spec"] != was.fields["spec"] {
		o.generation++
	}
}

// replace is the effect of a PUT, or of a patch that leads to the same.
func replace(was *modelObject, fields map[string]string, by modelOwner) *modelObject {
	next := was.clone()
	if status, ok := was.fields["status"]; ok {
		fields["status"] = status // not to be changed from here
	}
	next.set(fields, by)
	next.changed(was)
	return next
}

// differs says how an observed object is not what the model has; "" if it is. partial: only metadata was observed.
func (o *modelObject) differs(seen *modelObject, partial bool) string {
	fields := maps.Clone(o.fields)
	if partial {
		maps.DeleteFunc(fields, func(f, _ string) bool { return !strings.Contains(f, "/") })
	}
	switch {
	case !maps.Equal(fields, seen.fields):
		return fmt.Sprintf("fields %v, want %v", seen.fields, fields)
	case !slices.Equal(o.finalizers, seen.finalizers):
		return fmt.Sprintf("finalizers %v, want %v", seen.finalizers, o.finalizers)
	case o.deleting != seen.deleting || o.grace != seen.grace:
		return fmt.Sprintf("deleting %v within %d s, want %v, %d", seen.deleting, seen.grace, o.deleting, o.grace)
	case o.generation != seen.generation:
		return fmt.Sprintf("generation %d, want %d", seen.generation, o.generation)
	case !partial && (o.node != seen.node || o.phase != seen.phase):
		return fmt.Sprintf("%s on %q, want %s on %q", seen.phase, seen.node, o.phase, o.node)
	case o.uid != "" && o.uid != seen.uid:
		return fmt.Sprintf("uid %s, want %s", seen.uid, o.uid)
	case !maps.EqualFunc(o.owners, seen.owners, maps.Equal):
		return fmt.Sprintf("owners %v, want %v", seen.owners, o.owners)
	}
	return ""
}
