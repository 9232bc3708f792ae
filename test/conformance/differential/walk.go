package differential

import (
	"encoding/json"
	"errors"
	"math/rand"

	"clipper/api"
	"clipper/test/mutation"
)

const (
	mostKept = 200       // objects that a walk goes on from
	longest  = 20 * 1000 // bytes of an object that is kept
	anyName  = "web"     // of objects that have none
	version  = "7"       // of stored objects
)

// A walk makes writes to one kind. What it meets goes to visit.
type walk struct {
	kind    *kind
	mutator mutation.Mutator
	visit   func(write, outcome)

	kept     [][]byte // objects that upstream accepted, the examples first
	examples int      // how many of kept those are
}

// newWalk starts a walk whose course follows from seed.
func newWalk(k *kind, seed int64, constants *mutation.Constants, visit func(write, outcome)) *walk {
	return &walk{kind: k, visit: visit, mutator: mutation.Mutator{Rand: rand.New(rand.NewSource(seed)), Constants: constants}}
}

// begin creates the examples. What is not valid among them is there for its faults.
func (w *walk) begin() error {
	examples, err := mutation.Examples(w.kind.name)
	if err != nil {
		return err
	}
	for _, data := range examples {
		obj, err := w.kind.decode(data)
		if err != nil {
			return err
		}
		if data, err = w.encodeNew(obj); err != nil {
			return err
		}
		w.try(write{object: data})
	}
	w.examples = len(w.kept)
	if w.examples == 0 {
		return errors.New("no example is valid")
	}
	return nil
}

// step makes one write of each kind: a create, an update, and an update of each subresource.
func (w *walk) step() error {
	if err := w.create(); err != nil {
		return err
	}
	if err := w.update("", ""); err != nil {
		return err
	}
	for _, sub := range sortedKeys(w.kind.strategies.subs) {
		if err := w.update(sub, changedBy(sub)); err != nil {
			return err
		}
	}
	return nil
}

// changedBy names the field that a subresource is there to change.
func changedBy(sub string) string {
	if sub == "status" || sub == "approval" {
		return "Status"
	}
	return "Spec"
}

func (w *walk) create() error {
	obj, err := w.kind.decode(w.any())
	if err != nil {
		return err
	}
	w.mutator.Change(obj, 1+w.mutator.Rand.Intn(4))
	data, err := w.encodeNew(obj)
	if err != nil {
		return err
	}
	w.try(write{object: data})
	return nil
}

// update changes an object, nearly always in the named field if there is a name.
func (w *walk) update(sub, part string) error {
	obj, err := w.kind.decode(w.any())
	if err != nil {
		return err
	}
	obj.SetResourceVersion(version)
	old, err := json.Marshal(obj)
	if err != nil {
		return err
	}
	name, n := obj.GetName(), 1+w.mutator.Rand.Intn(3)
	if part == "" {
		w.mutator.Change(obj, n)
	} else {
		w.mutator.ChangeField(obj, n, part)
	}
	obj.SetName(name) // the path names the object
	data, err := json.Marshal(obj)
	if err != nil {
		return err
	}
	w.try(write{sub: sub, object: data, old: old})
	return nil
}

// encodeNew encodes an object to create: with a name, in the namespace, without what servers set.
func (w *walk) encodeNew(obj api.Object) ([]byte, error) {
	if obj.GetName() == "" {
		obj.SetName(anyName)
	}
	obj.SetNamespace(w.kind.namespace())
	obj.SetResourceVersion("")
	obj.SetDeletionTimestamp(nil)
	obj.SetDeletionGracePeriodSeconds(nil)
	return json.Marshal(obj)
}

func (w *walk) any() []byte { return w.kept[w.mutator.Rand.Intn(len(w.kept))] }

// try makes a write upstream, shows it, and keeps the object if it was accepted.
func (w *walk) try(wr write) {
	theirs := w.kind.upstream(wr)
	w.visit(wr, theirs)
	if len(theirs.faults) == 0 && len(theirs.stored) <= longest {
		w.keep(theirs.stored)
	}
}

// keep adds an object, in the place of any but the examples if there are enough.
func (w *walk) keep(data []byte) {
	if len(w.kept) < mostKept {
		w.kept = append(w.kept, data)
		return
	}
	w.kept[w.examples+w.mutator.Rand.Intn(len(w.kept)-w.examples)] = data
}
