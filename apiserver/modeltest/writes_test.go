package modeltest

import (
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
)

// create makes an object, sometimes under a name that the server finds.
func (d *driver) create(o op) error {
	k, through := pick(o)
	want := newObject(k.kind, fieldsOf(o, k.kind, "base"), updater(o, through, ""))
	if o.dice[dieVariant]%4 == 0 {
		want.finalizers = []string{"example.com/held"}
	}
	if kinds[k.kind].pod && o.dice[dieVariant]>>4%3 == 0 {
		want.node = choose(o, dieVariant, nodes...)
	}
	body := want.body(k, through, false)
	generated := o.dice[dieVariant]>>8%8 == 0
	if generated {
		meta := body["metadata"].(map[string]any)
		meta["generateName"] = k.name + "-"
		delete(meta, "name")
	}
	unknown := validationOf(o)
	q, in := unknown.spoil(body, query(o), mannerOf(o, k.kind))
	a, err := d.send(call{method: "POST", path: k.collection(through) + q, contentType: jsonT, body: body}, in)
	if err != nil {
		return err
	}
	wantCode := http.StatusCreated
	switch {
	case unknown.mode == "Strict":
		return d.expect(o, k, nil, a, http.StatusBadRequest)
	case generated:
		found, _, _ := observed(a.object)
		if suffix, ok := strings.CutPrefix(found.name, k.name+"-"); !ok || len(suffix) != 5 {
			return fmt.Errorf("%v: generated %q: %v", k, found.name, a)
		}
		k.name = found.name
	case d.objects[k] != nil:
		wantCode = http.StatusConflict
	}
	if a.warning != unknown.warning && wantCode == http.StatusCreated {
		return fmt.Errorf("%v: warning %q, want %q", k, a.warning, unknown.warning)
	}
	return d.expect(o, k, want, a, wantCode)
}

// getOne reads an object in some manner.
func (d *driver) getOne(o op) error {
	k, through := pick(o)
	return d.getBy(k, through, mannerOf(o, k.kind))
}

// get reads an object plainly.
func (d *driver) get(k modelKey) error { return d.getBy(k, kinds[k.kind].doors[0], plainly) }

func (d *driver) getBy(k modelKey, through door, in manner) error {
	a, err := d.send(call{method: "GET", path: k.path(through)}, in)
	if err != nil {
		return err
	}
	want := d.objects[k]
	if want == nil {
		if a.code != http.StatusNotFound {
			return fmt.Errorf("%v: %v, want none", k, a)
		}
		return nil
	}
	_, seen, partial := observed(a.object)
	if diff := want.differs(seen, partial); a.code != http.StatusOK || diff != "" || seen.version != want.version {
		return fmt.Errorf("%v: %v, revision %s, want %s; %s", k, a, seen.version, want.version, diff)
	}
	return nil
}

func (d *driver) update(o op) error {
	k, through := pick(o)
	was := d.objects[k]
	by := updater(o, through, "")
	base := was
	if was == nil {
		base = newObject(k.kind, nil, by)
	}
	want := replace(base, fieldsOf(o, k.kind, "base"), by)
	want.forgetsStatus(through)
	body := want.body(k, through, false)
	delete(body, "status")
	wantCode := preconditions(o, k, was, body["metadata"].(map[string]any))
	unknown := validationOf(o)
	q, in := unknown.spoil(body, query(o), mannerOf(o, k.kind))
	if unknown.mode == "Strict" {
		wantCode = http.StatusBadRequest
	}
	a, err := d.send(call{method: "PUT", path: k.path(through) + q, contentType: jsonT, body: body}, in)
	if err != nil {
		return err
	}
	return d.expect(o, k, want, a, wantCode)
}

// preconditions puts into the metadata of an update what it asks of the object that was, and says what that comes to.
func preconditions(o op, k modelKey, was *modelObject, meta map[string]any) int {
	kind := kinds[k.kind]
	variant := o.dice[dieVariant] % 8
	switch {
	case was == nil && kind.createOnUpdate:
		return http.StatusCreated
	case was == nil:
		return http.StatusNotFound
	case variant < 2:
		meta["resourceVersion"] = "1"
		return http.StatusConflict
	case variant == 2:
		meta["resourceVersion"] = was.version
		meta["uid"] = "nobody"
		return http.StatusConflict
	case variant < 5 && kind.unconditional:
		return http.StatusOK // without a revision it overwrites
	case variant == 3:
		return http.StatusUnprocessableEntity
	}
	meta["resourceVersion"] = was.version
	return http.StatusOK
}

// patch changes one label.
func (d *driver) patch(o op) error {
	k, through := pick(o)
	was := d.objects[k]
	name := choose(o, dieFields, "x", "y")
	value := any(strconv.Itoa(1 + int(o.dice[dieVariant]%3)))
	if o.dice[dieVariant]%5 == 0 {
		value = nil
	}
	wantCode := http.StatusOK
	contentType := choose(o, dieVariant, mergeT, mergeT, jpatchT, strategicT)
	body := any(map[string]any{"metadata": map[string]any{"labels": map[string]any{name: value}}})
	switch {
	case contentType == jpatchT:
		body = labelPatch(k, was, name, value)
		if was != nil && value == nil && was.fields["labels/"+name] == "" {
			wantCode = http.StatusUnprocessableEntity
		}
	case contentType == strategicT && kinds[k.kind].custom():
		wantCode = http.StatusUnsupportedMediaType
	default:
		wantCode = patchPreconditions(o, was, body.(map[string]any)["metadata"].(map[string]any))
	}
	a, err := d.send(call{method: "PATCH", path: k.path(through) + query(o), contentType: contentType, body: body}, mannerOf(o, k.kind))
	if err != nil {
		return err
	}
	if was == nil && wantCode != http.StatusUnsupportedMediaType {
		return d.expect(o, k, nil, a, http.StatusNotFound)
	}
	if wantCode >= http.StatusBadRequest {
		return d.expect(o, k, nil, a, wantCode)
	}
	fields := maps.Clone(was.fields)
	delete(fields, "labels/"+name)
	if value != nil {
		fields["labels/"+name] = value.(string)
	}
	want := replace(was, fields, updater(o, through, ""))
	if kinds[k.kind].custom() && !has(fields, "labels") {
		_, seen, _ := observed(a.object)
		if !was.mayHoldNull() || len(seen.owners["labels"]) == 0 { // of null, some patches make no map
			delete(want.owners, "labels") // a custom resource has an empty map for a moment, and the update takes it from its owner
		}
	}
	return d.expect(o, k, want, a, wantCode)
}

// patchPreconditions puts into the metadata of a patch what it asks of the object that was, and says what that comes to.
func patchPreconditions(o op, was *modelObject, meta map[string]any) int {
	switch choose(o, diePoint, 0, 0, 0, 0, 1, 2, 3) {
	case 1:
		meta["resourceVersion"] = "1"
		return http.StatusConflict
	case 2:
		meta["uid"] = "nobody" // no precondition in a patch, but a change
		return http.StatusUnprocessableEntity
	case 3:
		if was != nil && was.version != "" {
			meta["resourceVersion"], meta["uid"] = was.version, was.uid
		}
	}
	return http.StatusOK
}

// patchSpec changes the number in the spec of a custom resource.
func (d *driver) patchSpec(o op) error {
	k, through := pickOf(o, "gizmos")
	was := d.objects[k]
	value := strconv.Itoa(int(o.dice[dieFields] % 4))
	body := any(map[string]any{"spec": map[string]any{"n": number(value)}})
	contentType := choose(o, dieVariant, mergeT, jpatchT)
	if contentType == jpatchT {
		body = []any{map[string]any{"op": "add", "path": "/spec", "value": map[string]any{"n": number(value)}}}
	}
	a, err := d.send(call{method: "PATCH", path: k.path(through) + query(o), contentType: contentType, body: body}, mannerOf(o, k.kind))
	if err != nil {
		return err
	}
	if was == nil {
		return d.expect(o, k, nil, a, http.StatusNotFound)
	}
	fields := maps.Clone(was.fields)
	fields["spec"] = value
	return d.expect(o, k, replace(was, fields, updater(o, through, "")), a, http.StatusOK)
}

// labelPatch sets or removes a label by a JSON patch.
func labelPatch(k modelKey, was *modelObject, name string, value any) []any {
	out := []any{map[string]any{"op": "test", "path": "/metadata/name", "value": k.name}}
	if was != nil && !has(was.fields, "labels") {
		out = append(out, map[string]any{"op": "add", "path": "/metadata/labels", "value": map[string]any{}})
	}
	if value == nil {
		return append(out, map[string]any{"op": "remove", "path": "/metadata/labels/" + name})
	}
	return append(out, map[string]any{"op": "add", "path": "/metadata/labels/" + name, "value": value})
}

func (d *driver) apply(o op) error {
	k, through := pick(o)
	was := d.objects[k]
	by := modelOwner{manager: manager(o), applied: true, version: through.version}
	fields := fieldsOf(o, k.kind, by.manager)
	force := o.dice[dieVariant]%3 == 0
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
	body := (&modelObject{fields: fields}).body(k, through, true)
	path := k.path(through) + query(o) + "&force=" + strconv.FormatBool(force)
	a, err := d.send(call{method: "PATCH", path: path, contentType: applyT, body: body}, mannerOf(o, k.kind))
	if err != nil {
		return err
	}
	return d.expect(o, k, want, a, wantCode)
}

// forbidden tries something in the name of somebody who may not do it.
func (d *driver) forbidden(o op) error {
	k, through := pick(o)
	method := choose(o, dieVariant, "GET", "DELETE", "PATCH")
	c := call{method: method, path: k.path(through), as: "denied"}
	if method == "PATCH" {
		c.contentType, c.body = mergeT, map[string]any{"metadata": map[string]any{"labels": nil}}
	}
	in := wholly(o, k.kind)
	if in.answer.mediaType == asCBOR.mediaType {
		in.answer = asJSON // who refuses knows of no other
	}
	a, err := d.send(c, in)
	if err != nil || a.code != http.StatusForbidden {
		return fmt.Errorf("%s %v as somebody else: %v %w", method, k, a, err)
	}
	return d.get(k)
}
