package all

import (
	"encoding/json"
	"math/rand"
	"reflect"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	"sigs.k8s.io/randfill/bytesource"

	"clipper/api"
	"clipper/catalogue"
	"clipper/test/mutation"
)

// updateRefuses lists the kinds whose updates upstream checks more strictly than their creation, by what it checks.
var updateRefuses = map[string]string{
	"nodes": "status.addresses without duplicates",
}

// patience is what one object may take, through everything that is done with it, on a busy machine.
const patience = 5 * time.Second

// FuzzKinds takes objects of every kind in every version, made from examples by changes that the fuzzer chooses,
// through what a server does with them: a create, an update that changes nothing, one that does, and one of each
// subresource.
func FuzzKinds(f *testing.F) {
	constants, err := mutation.ReadConstants()
	if err != nil {
		f.Fatal(err)
	}
	kinds := subjects(f)
	for i := range kinds {
		f.Add(uint8(i), []byte{})
		f.Add(uint8(i), []byte("another eight bytes, and more"))
	}
	f.Fuzz(func(t *testing.T, kind uint8, choices []byte) {
		began := time.Now()
		l := life{t: t, subject: kinds[int(kind)%len(kinds)], change: &mutation.Mutator{Rand: rand.New(bytesource.New(choices)), Constants: constants}}
		l.live()
		if took := time.Since(began); took > patience {
			t.Errorf("took %v", took)
		}
	})
}

// A subject is a kind in one of its versions.
type subject struct {
	*catalogue.Resource
	version  *catalogue.Version // nil: the storage version
	examples [][]byte
}

// subjects are all there are, and what their objects start from.
func subjects(t testing.TB) (list []subject) {
	t.Helper()
	add := func(name string, s subject) {
		var err error
		if s.examples, err = mutation.Examples(name); err != nil {
			t.Fatal(err)
		}
		if s.examples == nil {
			s.examples = [][]byte{[]byte(`{"metadata":{"name":"web"}}`)}
		}
		list = append(list, s)
	}
	for _, r := range Resources() {
		name := r.GroupResource().String()
		add(name, subject{Resource: r})
		for i := range r.Also {
			group := r.Also[i].Group
			if group == "" {
				group = r.Group
			}
			add(name+"@"+group+"."+r.Also[i].Version, subject{Resource: r, version: &r.Also[i]})
		}
	}
	return list
}

// A life is that of one object.
type life struct {
	subject
	t      *testing.T
	change *mutation.Mutator
}

func (l *life) live() {
	stored := l.create()
	l.look(stored)
	l.updates("", stored, l.updateRules())
	if l.Status != nil {
		l.updates("status", stored, *l.Status)
	}
	for _, sub := range l.Subresources {
		if sub.Update != nil {
			l.updates(sub.Name, stored, *sub.Update)
		}
	}
}

func (l *life) updateRules() catalogue.Status {
	rules := catalogue.Status{Prepare: l.PrepareUpdate, Validate: l.ValidateUpdate}
	if l.version != nil && l.version.ValidateUpdate != nil {
		rules.Validate = l.version.ValidateUpdate
	}
	return rules
}

// create makes an object that may be valid or not, as it would be stored.
func (l *life) create() api.Object {
	obj := l.received()
	if l.PrepareCreate != nil {
		l.PrepareCreate(obj)
	}
	if l.PrepareCreateFor != nil {
		l.PrepareCreateFor(obj, &user.DefaultInfo{Name: "jane"})
	}
	validate := l.ValidateCreate
	if l.version != nil && l.version.ValidateCreate != nil {
		validate = l.version.ValidateCreate
	}
	var faults field.ErrorList
	if validate != nil {
		l.untouched("validation", obj, func() { faults = validate(obj) })
	}
	_ = faults.ToAggregate()
	if l.ValidateName != nil {
		l.ValidateName(obj.GetName(), false)
		l.ValidateName(obj.GetGenerateName(), true)
	}
	l.settle(obj, nil)
	if len(faults) == 0 && updateRefuses[l.Name] == "" {
		l.unchanging(obj)
	}
	return obj
}

// received is an object as it comes from the wire, defaulted and in the storage version.
func (l *life) received() api.Object {
	obj := l.New()
	if l.version != nil {
		obj = l.version.New()
	}
	if err := json.Unmarshal(l.examples[l.change.Rand.Intn(len(l.examples))], obj); err != nil {
		l.t.Fatal(err)
	}
	l.change.Change(obj, l.change.Rand.Intn(8))
	obj = recoded(l.t, obj) // no two parts are the same memory, as changes may leave them
	if v := l.version; v != nil {
		if v.Default != nil {
			l.twice("a version's defaults", obj, v.Default)
		}
		hub, err := v.ToHub(obj)
		if err != nil {
			l.t.Skip(err)
		}
		obj = hub
	}
	if l.Default != nil {
		l.twice("defaults", obj, l.Default)
	}
	return obj
}

// settle gives obj, which may be stored in the place of old, its last form.
func (l *life) settle(obj, old api.Object) {
	if l.Warnings != nil {
		l.untouched("warnings", obj, func() { l.Warnings(obj, old) })
	}
	if l.Canonicalize != nil {
		l.twice("the stored form", obj, l.Canonicalize)
	}
}

// unchanging: an accepted object can be written again as it is, and stays what it is.
func (l *life) unchanging(stored api.Object) {
	rules := l.updateRules()
	next := stored.DeepCopyObject().(api.Object)
	if l.Default != nil {
		l.Default(next)
	}
	if rules.Prepare != nil {
		rules.Prepare(next, stored)
	}
	if rules.Validate != nil {
		if faults := rules.Validate(next, stored); len(faults) > 0 {
			l.t.Errorf("%s: accepted, and cannot be written again: %v\n%s", l.Name, faults.ToAggregate(), text(stored))
		}
	}
	if l.Canonicalize != nil {
		l.Canonicalize(next)
	}
	if !equality.Semantic.DeepEqual(next, stored) {
		l.t.Errorf("%s: written again, it is another:\n%s\n%s", l.Name, text(stored), text(next))
	}
}

// updates writes to old, which is shared and stays as it is.
func (l *life) updates(sub string, old api.Object, rules catalogue.Status) {
	next := old.DeepCopyObject().(api.Object)
	l.change.Change(next, 1+l.change.Rand.Intn(4))
	next = recoded(l.t, next)
	if l.Default != nil {
		l.Default(next)
	}
	l.untouched("an update through "+sub, old, func() {
		if rules.Prepare != nil {
			rules.Prepare(next, old)
		}
		var faults field.ErrorList
		if rules.Validate != nil {
			l.untouched("validation through "+sub, next, func() { faults = rules.Validate(next, old) })
		}
		_ = faults.ToAggregate()
		l.settle(next, old)
	})
	l.look(next)
}

// look does what reads do.
func (l *life) look(obj api.Object) {
	l.untouched("looking", obj, func() {
		if l.Row != nil {
			cells := l.Row(obj, time.Now())
			if len(cells) != cellsOf(l.Resource) {
				l.t.Errorf("%s: %d cells for %d columns", l.Name, len(cells), len(l.Columns))
			}
			if _, err := json.Marshal(cells); err != nil {
				l.t.Errorf("%s: a row cannot be shown: %v", l.Name, err)
			}
		}
		if l.RowConditions != nil {
			l.RowConditions(obj)
		}
		for _, get := range l.Fields {
			get(obj)
		}
		if l.GracePeriod != nil {
			l.GracePeriod(obj, nil)
		}
		for i := range l.Also {
			if _, err := l.Also[i].FromHub(obj); err != nil {
				l.t.Logf("%s: %v", l.Name, err)
			}
		}
	})
	l.scale(obj)
}

func (l *life) scale(obj api.Object) {
	if l.Scale == nil {
		return
	}
	l.untouched("the scale", obj, func() {
		l.Scale.Replicas(obj)
		l.Scale.Selector(obj)
	})
	next := obj.DeepCopyObject().(api.Object)
	l.Scale.SetReplicas(next, 3)
	if spec, _ := l.Scale.Replicas(next); spec != 3 {
		l.t.Errorf("%s: scaled to 3, it has %d", l.Name, spec)
	}
}

// twice: what has been done needs not be done again.
func (l *life) twice(what string, obj api.Object, do func(api.Object)) {
	do(obj)
	again := obj.DeepCopyObject().(api.Object)
	do(again)
	if !equality.Semantic.DeepEqual(obj, again) {
		l.t.Errorf("%s: %s twice are others:\n%s\n%s", l.Name, what, text(obj), text(again))
	}
}

// untouched: what is done with obj leaves it as it is.
func (l *life) untouched(what string, obj api.Object, do func()) {
	before := obj.DeepCopyObject()
	do()
	if !equality.Semantic.DeepEqual(before, obj) {
		l.t.Errorf("%s: %s changed the object:\n%s\n%s", l.Name, what, text(before), text(obj))
	}
}

// recoded is obj read again from its JSON, which must make no difference.
func recoded(t *testing.T, obj api.Object) api.Object {
	data, err := json.Marshal(obj)
	if err != nil {
		t.Skip(err) // raw JSON that is none: no decoder leaves such
	}
	again := reflect.New(reflect.TypeOf(obj).Elem()).Interface().(api.Object)
	if err := json.Unmarshal(data, again); err != nil {
		t.Fatalf("%T: %v\n%s", obj, err, data)
	}
	return again
}

func text(obj any) string {
	data, err := json.Marshal(obj)
	if err != nil {
		return err.Error()
	}
	return string(data)
}
