package apiserver_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// weights says how often each operation is chosen.
var weights = map[string]int{
	"create": 14, "get": 4, "update": 12, "merge": 10, "jsonpatch": 4, "apply": 16, "status": 4, "delete": 8,
	"release": 5, "list": 5, "listAt": 3, "page": 4, "nextPage": 6, "deleteCollection": 1, "watch": 3, "remember": 3,
}

// do carries out one operation.
func (d *driver) do(o op) error {
	switch o.what {
	case "create":
		return d.create(o)
	case "get":
		return d.get(d.pick(o))
	case "update":
		return d.update(o)
	case "merge", "jsonpatch":
		return d.patch(o)
	case "apply":
		return d.apply(o)
	case "status":
		return d.status(o)
	case "delete":
		return d.delete(o)
	case "release":
		return d.release(o)
	case "list":
		return d.listNow(o)
	case "listAt":
		return d.listAt(o)
	case "page":
		return d.firstPage(o)
	case "nextPage":
		return d.nextPage()
	case "deleteCollection":
		return d.deleteCollection(o)
	case "watch":
		return d.watch(o)
	}
	return d.remember()
}

// choose picks by one of an operation's dice.
func choose[T any](o op, die int, from ...T) T { return from[int(o.dice[die])%len(from)] }

// pick returns a key, of an object or of none.
func (d *driver) pick(o op) modelKey {
	return modelKey{
		kind:      choose(o, 0, "configmaps", "configmaps", "leases", "gizmos"),
		namespace: choose(o, 1, "one", "one", "two"),
		name:      choose(o, 2, "a", "b", "c", "d", "e", "f"),
	}
}

func selectorOf(o op) modelSelector {
	return choose(o, 6, modelSelector{}, modelSelector{}, modelSelector{"x", ""}, modelSelector{"x", "1"}, modelSelector{"y", "2"})
}

// fieldsOf makes up fields for an object of a kind. always is one that is there each time: the server begins to track
// owners when an object is made, or applied, and an object without any owned field would not be tracked later.
func fieldsOf(o op, kind, always string) map[string]string {
	out := map[string]string{"annotations/" + always: "0"}
	for i, f := range []string{"labels/x", "labels/y", "annotations/p", "annotations/q"} {
		if bits := o.dice[3] >> (4 * i); bits&1 == 1 {
			out[f] = strconv.Itoa(1 + int(bits>>1)%3)
		}
	}
	if kinds[kind].spec && o.dice[3]>>20&3 > 0 {
		out["spec"] = strconv.Itoa(int(o.dice[3] >> 24 % 4))
	}
	return out
}

func manager(o op) string { return choose(o, 4, "ann", "bob") }

// dry says whether the operation is only tried.
func dry(o op) bool { return o.dice[7]%8 == 0 }

func query(o op) string {
	q := url.Values{"fieldManager": {manager(o)}}
	if dry(o) {
		q.Set("dryRun", "All")
	}
	return "?" + q.Encode()
}

// expect compares an answer with what the model has come to, and makes it the model's unless it was only tried.
func (d *driver) expect(o op, k modelKey, want *modelObject, code, wantCode int, answer map[string]any) error {
	if code != wantCode {
		return fmt.Errorf("%v: %d, want %d: %v", k, code, wantCode, answer)
	}
	if code >= http.StatusBadRequest {
		return nil
	}
	_, seen := observed(answer)
	if diff := want.differs(seen); diff != "" {
		return fmt.Errorf("%v: %s", k, diff)
	}
	if dry(o) {
		return d.get(k)
	}
	was := d.objects[k]
	switch {
	case was != nil && was.unchanged(want):
		if seen.version != was.version {
			return fmt.Errorf("%v: nothing has changed but the revision, from %s to %s", k, was.version, seen.version)
		}
		return nil
	case want.deleting && len(want.finalizers) == 0:
		d.put(k, nil)
		return nil
	}
	want.version, want.uid = seen.version, seen.uid
	d.put(k, want)
	return nil
}

// newObject is what a create by a manager makes of fields.
func newObject(kind string, fields map[string]string, by modelOwner) *modelObject {
	o := &modelObject{fields: map[string]string{}, owners: map[string]map[modelOwner]bool{}}
	if kinds[kind].spec {
		o.generation = 1
	}
	o.set(fields, by)
	return o
}

func (d *driver) create(o op) error {
	k := d.pick(o)
	want := newObject(k.kind, fieldsOf(o, k.kind, "base"), modelOwner{manager: manager(o)})
	if o.dice[5]%4 == 0 {
		want.finalizers = []string{"example.com/held"}
	}
	text, err := json.Marshal(want.body(k, false))
	if err != nil {
		return err
	}
	code, answer, err := d.send("POST", k.collection()+query(o), jsonT, string(text))
	if err != nil {
		return err
	}
	if d.objects[k] != nil {
		return d.expect(o, k, want, code, http.StatusConflict, answer)
	}
	return d.expect(o, k, want, code, http.StatusCreated, answer)
}

func (d *driver) get(k modelKey) error {
	code, answer, err := d.send("GET", k.path(), "", "")
	if err != nil {
		return err
	}
	want := d.objects[k]
	if want == nil {
		if code != http.StatusNotFound {
			return fmt.Errorf("%v: %d, want none: %v", k, code, answer)
		}
		return nil
	}
	_, seen := observed(answer)
	if diff := want.differs(seen); code != http.StatusOK || diff != "" || seen.version != want.version {
		return fmt.Errorf("%v: %d, revision %s, want %s; %s", k, code, seen.version, want.version, diff)
	}
	return nil
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

func (d *driver) update(o op) error {
	k := d.pick(o)
	was := d.objects[k]
	by := modelOwner{manager: manager(o)}
	fields := fieldsOf(o, k.kind, "base")
	base := was
	if was == nil {
		base = newObject(k.kind, nil, by)
	}
	want := replace(base, fields, by)
	body := want.body(k, false)
	delete(body, "status")
	wantCode := http.StatusOK
	switch {
	case was == nil && kinds[k.kind].createOnUpdate:
		wantCode = http.StatusCreated
	case was == nil:
		wantCode = http.StatusNotFound
	case o.dice[5]%4 == 0:
		body["metadata"].(map[string]any)["resourceVersion"] = "1"
		wantCode = http.StatusConflict
	case o.dice[5]%4 == 1 && !kinds[k.kind].createOnUpdate && !kinds[k.kind].spec:
		// without a revision it overwrites
	default:
		body["metadata"].(map[string]any)["resourceVersion"] = was.version
	}
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	code, answer, err := d.send("PUT", k.path()+query(o), jsonT, string(text))
	if err != nil {
		return err
	}
	return d.expect(o, k, want, code, wantCode, answer)
}

// patch changes one field, by a merge patch or a JSON patch.
func (d *driver) patch(o op) error {
	k := d.pick(o)
	was := d.objects[k]
	name := choose(o, 3, "x", "y")
	value := any(strconv.Itoa(1 + int(o.dice[5]%3)))
	if o.dice[5]%5 == 0 {
		value = nil
	}
	change := map[string]any{"metadata": map[string]any{"labels": map[string]any{name: value}}}
	contentType, wantCode := mergeT, http.StatusOK
	body := any(change)
	if o.what == "jsonpatch" {
		contentType = jpatchT
		operations := []any{map[string]any{"op": "test", "path": "/metadata/name", "value": k.name}}
		if was != nil && was.fields["labels/x"] == "" && was.fields["labels/y"] == "" {
			operations = append(operations, map[string]any{"op": "add", "path": "/metadata/labels", "value": map[string]any{}})
		}
		if value == nil {
			operations = append(operations, map[string]any{"op": "remove", "path": "/metadata/labels/" + name})
			if was != nil && was.fields["labels/"+name] == "" {
				wantCode = http.StatusUnprocessableEntity
			}
		} else {
			operations = append(operations, map[string]any{"op": "add", "path": "/metadata/labels/" + name, "value": value})
		}
		body = operations
	}
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	code, answer, err := d.send("PATCH", k.path()+query(o), contentType, string(text))
	if err != nil {
		return err
	}
	if was == nil {
		return d.expect(o, k, nil, code, http.StatusNotFound, answer)
	}
	fields := maps.Clone(was.fields)
	delete(fields, "labels/"+name)
	if value != nil {
		fields["labels/"+name] = value.(string)
	}
	want := replace(was, fields, modelOwner{manager: manager(o)})
	if kinds[k.kind].spec && !has(fields, "labels") {
		delete(want.owners, "labels") // a custom resource has an empty map for a moment, and the update takes it from its owner
	}
	return d.expect(o, k, want, code, wantCode, answer)
}

func (d *driver) apply(o op) error {
	k := d.pick(o)
	was := d.objects[k]
	by := modelOwner{manager: manager(o), applied: true}
	fields := fieldsOf(o, k.kind, by.manager)
	force := o.dice[5]%3 == 0
	want, wantCode := was.clone(), http.StatusOK
	if want == nil {
		want, wantCode = newObject(k.kind, nil, by), http.StatusCreated
	}
	if conflicts := want.apply(maps.Clone(fields), by, force); len(conflicts) > 0 && !force {
		wantCode = http.StatusConflict
	}
	if was != nil {
		want.changed(was)
		if was.leavesNull(want) {
			wantCode = http.StatusUnprocessableEntity
		}
	}
	text, err := json.Marshal((&modelObject{fields: fields}).body(k, true))
	if err != nil {
		return err
	}
	code, answer, err := d.send("PATCH", k.path()+query(o)+"&force="+strconv.FormatBool(force), applyT, string(text))
	if err != nil {
		return err
	}
	return d.expect(o, k, want, code, wantCode, answer)
}

// status writes the status of a custom resource, which touches nothing else.
func (d *driver) status(o op) error {
	k := d.pick(o)
	k.kind = "gizmos"
	value := strconv.Itoa(int(o.dice[3] % 4))
	code, answer, err := d.send("PATCH", k.path()+"/status"+query(o), mergeT, `{"spec":{"n":99},"status":{"n":`+value+`}}`)
	if err != nil {
		return err
	}
	was := d.objects[k]
	if was == nil {
		return d.expect(o, k, nil, code, http.StatusNotFound, answer)
	}
	want := was.clone()
	fields := maps.Clone(was.fields)
	fields["status"] = value
	want.set(fields, modelOwner{manager: manager(o)})
	return d.expect(o, k, want, code, http.StatusOK, answer)
}

func (d *driver) delete(o op) error {
	k := d.pick(o)
	was := d.objects[k]
	options := map[string]any{"propagationPolicy": choose(o, 3, "Background", "Background", "Foreground", "Orphan")}
	wantCode := http.StatusOK
	switch {
	case was == nil:
		wantCode = http.StatusNotFound
	case o.dice[5]%5 == 0:
		options["preconditions"] = map[string]any{"uid": "nobody"}
		wantCode = http.StatusConflict
	case o.dice[5]%5 == 1:
		options["preconditions"] = map[string]any{"uid": was.uid, "resourceVersion": was.version}
	}
	if dry(o) {
		options["dryRun"] = []string{"All"}
	}
	text, err := json.Marshal(options)
	if err != nil {
		return err
	}
	code, answer, err := d.send("DELETE", k.path(), jsonT, string(text))
	if err != nil {
		return err
	}
	if code != wantCode {
		return fmt.Errorf("%v: %d, want %d: %v", k, code, wantCode, answer)
	}
	if code != http.StatusOK || dry(o) {
		return d.get(k)
	}
	return d.deleted(k, options["propagationPolicy"].(string))
}

// deleted is the effect of a delete: the object goes at once if nothing holds it.
func (d *driver) deleted(k modelKey, policy string) error {
	was := d.objects[k]
	next := was.clone()
	next.finalizers = slices.DeleteFunc(next.finalizers, func(f string) bool { return f == "orphan" || f == "foregroundDeletion" })
	switch policy {
	case "Foreground":
		next.finalizers = append(next.finalizers, "foregroundDeletion")
	case "Orphan":
		next.finalizers = append(next.finalizers, "orphan")
	}
	if len(next.finalizers) == 0 {
		d.put(k, nil)
		return nil
	}
	if !was.deleting && next.generation > 0 {
		next.generation++
	}
	next.deleting = true
	if was.unchanged(next) {
		return d.get(k)
	}
	_, answer, err := d.send("GET", k.path(), "", "")
	if err != nil {
		return err
	}
	_, seen := observed(answer)
	if diff := next.differs(seen); diff != "" {
		return fmt.Errorf("%v deleted: %s", k, diff)
	}
	next.version = seen.version
	d.put(k, next)
	return nil
}

// release takes all finalizers off an object, which ends it if it is being deleted.
func (d *driver) release(o op) error {
	k := d.pick(o)
	o.dice[7] = 1 // not tried only
	code, answer, err := d.send("PATCH", k.path()+query(o), mergeT, `{"metadata":{"finalizers":null}}`)
	if err != nil {
		return err
	}
	was := d.objects[k]
	if was == nil {
		return d.expect(o, k, nil, code, http.StatusNotFound, answer)
	}
	want := was.clone()
	want.finalizers = nil
	return d.expect(o, k, want, code, http.StatusOK, answer)
}

func (d *driver) deleteCollection(o op) error {
	k, s := d.pick(o), selectorOf(o)
	code, answer, err := d.send("DELETE", k.collection()+"?propagationPolicy=Background&labelSelector="+url.QueryEscape(s.query()), "", "")
	if err != nil || code != http.StatusOK {
		return fmt.Errorf("%d %v %w", code, answer, err)
	}
	keys := d.list(k.kind, k.namespace, s)
	if got, want := answered(answer, false), d.show(keys, false); !slices.Equal(got, want) {
		return fmt.Errorf("deleted %q, want %q", got, want)
	}
	for _, k := range keys {
		if err := d.deleted(k, "Background"); err != nil {
			return err
		}
	}
	return nil
}
