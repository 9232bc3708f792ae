package modeltest

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// An operation is something that a client does. weight says how often.
type operation struct {
	weight int
	do     func(*driver, op) error
}

var operations = map[string]operation{
	"create":           {14, (*driver).create},
	"get":              {4, (*driver).getOne},
	"update":           {12, (*driver).update},
	"patch":            {14, (*driver).patch},
	"patchSpec":        {4, (*driver).patchSpec},
	"apply":            {16, (*driver).apply},
	"status":           {5, (*driver).status},
	"putStatus":        {3, (*driver).putStatus},
	"applyStatus":      {4, (*driver).applyStatus},
	"scale":            {2, (*driver).scale},
	"bind":             {4, (*driver).bind},
	"evict":            {2, (*driver).evict},
	"delete":           {9, (*driver).delete},
	"hold":             {3, (*driver).hold},
	"release":          {5, (*driver).release},
	"deleteCollection": {1, (*driver).deleteCollection},
	"forbidden":        {1, (*driver).forbidden},
	"list":             {5, (*driver).listNow},
	"listAt":           {3, (*driver).listAt},
	"page":             {4, (*driver).firstPage},
	"nextPage":         {6, (*driver).nextPage},
	"watch":            {3, (*driver).watch},
	"restart":          {1, (*driver).restart},
	"forgotten":        {2, (*driver).forgotten},
	"race":             {4, (*driver).race},
	"remember":         {3, func(d *driver, _ op) error { return d.remember() }},
}

// What the dice of an operation decide.
const (
	dieKind = iota
	dieNamespace
	dieName
	dieFields
	dieManager
	dieVariant
	dieSelection
	dieDry
	dieBody
	dieAnswer
	dieForm
	dieDoor
	diePoint
	dieValidation
	dice // how many there are
)

// choose picks by one of an operation's dice.
func choose[T any](o op, die int, from ...T) T { return from[int(o.dice[die])%len(from)] }

// pick returns a key, of an object or of none, and the door to it.
func pick(o op) (modelKey, door) {
	return pickOf(o, choose(o, dieKind, "configmaps", "configmaps", "leases", "runtimeclasses", "gizmos", "gizmos", "pods", "pods"))
}

// pickOf returns a key of a kind.
func pickOf(o op, kind string) (modelKey, door) {
	k := modelKey{kind: kind, namespace: choose(o, dieNamespace, "one", "one", "two"), name: choose(o, dieName, names...)}
	if kinds[kind].cluster {
		k.namespace = ""
	}
	return k, choose(o, dieDoor, kinds[kind].doors...)
}

// fieldsOf makes up fields for an object of a kind. always is one that is there each time: the server begins to track
// owners when an object is made, or applied, and an object without any owned field would not be tracked later.
func fieldsOf(o op, kind, always string) map[string]string {
	out := map[string]string{"annotations/" + always: "0"}
	die := o.dice[dieFields]
	for i, f := range []string{"labels/x", "labels/y", "annotations/p", "annotations/q"} {
		if bits := die >> (4 * i); bits&1 == 1 {
			out[f] = strconv.Itoa(1 + int(bits>>1)%3)
		}
	}
	if kinds[kind].spec && die>>20&3 > 0 {
		out["spec"] = strconv.Itoa(int(die >> 24 % 4))
	}
	return out
}

func manager(o op) string { return choose(o, dieManager, "ann", "bob") }

// updater is who an update through a door is by.
func updater(o op, through door, subresource string) modelOwner {
	return modelOwner{manager: manager(o), version: through.version, subresource: subresource}
}

// dry says whether the operation is only tried.
func dry(o op) bool { return o.dice[dieDry]%8 == 0 }

func query(o op) string {
	q := url.Values{"fieldManager": {manager(o)}}
	if dry(o) {
		q.Set("dryRun", "All")
	}
	return "?" + q.Encode()
}

// mannerOf says how the client speaks of a kind.
func mannerOf(o op, kind string) manner {
	m := manner{body: choose(o, dieBody, formatsOf(kinds[kind].custom())...), form: choose(o, dieForm, "", "", "", "PartialObjectMetadata", "Table")}
	switch m.form {
	case "Table": // there are none in other formats
		m.answer = choose(o, dieAnswer, asJSON, asYAML)
	case "PartialObjectMetadata":
		m.answer = choose(o, dieAnswer, formatsOf(false)...)
	default:
		m.answer = choose(o, dieAnswer, formatsOf(kinds[kind].custom())...)
	}
	return m
}

// wholly is the same without a form: for answers that are no object of the kind.
func wholly(o op, kind string) manner {
	o.dice[dieForm] = 0
	return mannerOf(o, kind)
}

// A validation is what becomes of fields that nobody knows.
type validation struct{ mode, warning string }

// validationOf says whether a body has such a field (mode is not "") and what is asked for.
func validationOf(o op) validation {
	const warning = `299 - "unknown field \"bogus\""`
	return choose(o, dieValidation, validation{}, validation{}, validation{}, validation{}, validation{}, validation{},
		validation{"Strict", ""}, validation{"Warn", warning}, validation{"Ignore", ""})
}

// spoil puts an unknown field into a body, and the mode into the query.
func (v validation) spoil(body map[string]any, query string, m manner) (string, manner) {
	if v.mode == "" {
		return query, m
	}
	body["bogus"] = 1
	if m.body.mediaType != asYAML.mediaType { // protobuf has no such fields, CBOR other words for them
		m.body = asJSON
	}
	return query + "&fieldValidation=" + v.mode, m
}

// expect compares an answer with what the model has come to, and makes it the model's unless it was only tried.
func (d *driver) expect(o op, k modelKey, want *modelObject, a answer, wantCode int) error {
	if a.code != wantCode {
		return fmt.Errorf("%v: %v, want %d", k, a, wantCode)
	}
	if a.code >= http.StatusBadRequest {
		return nil
	}
	_, seen, partial := observed(a.object)
	if diff := want.differs(seen, partial); diff != "" {
		return fmt.Errorf("%v: %s", k, diff)
	}
	if dry(o) {
		return d.get(k)
	}
	was := d.objects[k]
	if was != nil && was.unchanged(want) {
		switch {
		case was.version == "" || seen.version == was.version:
			return nil
		case !kinds[k.kind].custom() || !was.mayHoldNull():
			return fmt.Errorf("%v: nothing has changed but the revision, from %s to %s", k, was.version, seen.version)
		}
	}
	if want = want.released(); want != nil {
		want.version, want.uid = seen.version, seen.uid
	}
	d.put(k, want)
	return nil
}
