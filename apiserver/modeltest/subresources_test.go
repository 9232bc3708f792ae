package modeltest

import (
	"fmt"
	"maps"
	"net/http"
	"strconv"
)

// status writes the status of a custom resource or of a pod, which touches nothing else.
func (d *driver) status(o op) error {
	k, through := pickOf(o, choose(o, dieKind, "gizmos", "pods"))
	value := strconv.Itoa(int(o.dice[dieFields] % 4))
	phase := choose(o, dieFields, "Running", "Running", "Running", "Succeeded", "Failed", "Pending")
	body := map[string]any{"metadata": map[string]any{"generation": 99}, "spec": map[string]any{"n": 99}, "status": map[string]any{"n": number(value)}}
	if kinds[k.kind].pod {
		body = map[string]any{"spec": map[string]any{"nodeName": "n9"}, "status": map[string]any{"phase": phase}}
	}
	contentType := choose(o, dieVariant, mergeT, strategicT)
	if kinds[k.kind].custom() {
		contentType = mergeT
	}
	a, err := d.send(call{method: "PATCH", path: k.path(through) + "/status" + query(o), contentType: contentType, body: body}, mannerOf(o, k.kind))
	if err != nil {
		return err
	}
	was := d.objects[k]
	if was == nil {
		return d.expect(o, k, nil, a, http.StatusNotFound)
	}
	want := was.clone()
	if kinds[k.kind].pod {
		want.phase = phase
		return d.expect(o, k, want, a, http.StatusOK)
	}
	fields := maps.Clone(was.fields)
	fields["status"] = value
	want.set(fields, updater(o, through, "status"))
	return d.expect(o, k, want, a, http.StatusOK)
}

// putStatus replaces the status of a custom resource. What else the body says does not count.
func (d *driver) putStatus(o op) error {
	k, through := pickOf(o, "gizmos")
	was := d.objects[k]
	base := was
	if was == nil {
		base = newObject(k.kind, nil, updater(o, through, ""))
	}
	sent := base.clone()
	fields := maps.Clone(was.fieldsOrNone())
	fields["status"] = strconv.Itoa(int(o.dice[dieFields] % 4))
	sent.fields = maps.Clone(fields)
	sent.fields["spec"], sent.fields["labels/x"] = "99", "99"
	body := sent.body(k, through, false)
	wantCode := preconditions(o, k, was, body["metadata"].(map[string]any))
	a, err := d.send(call{method: "PUT", path: k.path(through) + "/status" + query(o), contentType: jsonT, body: body}, mannerOf(o, k.kind))
	if err != nil {
		return err
	}
	want := base.clone()
	want.set(fields, updater(o, through, "status"))
	return d.expect(o, k, want, a, wantCode)
}

// applyStatus applies the status of a custom resource, which must be there.
func (d *driver) applyStatus(o op) error {
	k, through := pickOf(o, "gizmos")
	was := d.objects[k]
	by := modelOwner{manager: manager(o), applied: true, version: through.version, subresource: "status"}
	value := strconv.Itoa(int(o.dice[dieFields] % 4))
	force := o.dice[dieVariant]%3 == 0
	body := map[string]any{"apiVersion": through.version, "kind": kinds[k.kind].kind, "metadata": map[string]any{"name": k.name, "namespace": k.namespace},
		"status": map[string]any{"n": number(value)}}
	path := k.path(through) + "/status" + query(o) + "&force=" + strconv.FormatBool(force)
	a, err := d.send(call{method: "PATCH", path: path, contentType: applyT, body: body}, mannerOf(o, k.kind))
	if err != nil {
		return err
	}
	if was == nil {
		return d.expect(o, k, nil, a, http.StatusNotFound)
	}
	want, wantCode := was.clone(), http.StatusOK
	if conflicts := want.apply(map[string]string{"status": value}, by, force); len(conflicts) > 0 && !force {
		wantCode = http.StatusConflict
	}
	return d.expect(o, k, want, a, wantCode)
}

// scale tries to write the number in the spec of a custom resource that has one, through its scale. It is only tried:
// the entries of managedFields that upstream's library leaves behind a scale depend on the second in which it was.
func (d *driver) scale(o op) error {
	k, through := pickOf(o, "gizmos")
	was := d.objects[k]
	if was != nil && was.fields["spec"] == "" {
		return nil
	}
	o.dice[dieDry] = 0
	value := int64(o.dice[dieFields] % 4)
	body := map[string]any{"spec": map[string]any{"replicas": value}}
	a, err := d.send(call{method: "PATCH", path: k.path(through) + "/scale" + query(o), contentType: mergeT, body: body}, plainly)
	if err != nil {
		return err
	}
	if was == nil {
		return d.expect(o, k, nil, a, http.StatusNotFound)
	}
	spec, _ := a.object["spec"].(map[string]any)
	status, _ := a.object["status"].(map[string]any)
	if a.code != http.StatusOK || number(spec["replicas"]) != value || number(status["replicas"]) != number(was.fields["status"]) {
		return fmt.Errorf("%v: scaled to %d: %v: %v", k, value, a, a.object)
	}
	return d.get(k)
}

// came checks that an object has come to what an answer does not show, and makes it the model's.
func (d *driver) came(k modelKey, want *modelObject) error {
	a, err := d.send(call{method: "GET", path: k.path(kinds[k.kind].doors[0])}, plainly)
	if err != nil {
		return err
	}
	_, seen, _ := observed(a.object)
	if diff := want.differs(seen, false); diff != "" {
		return fmt.Errorf("%v: %v: %s", k, a, diff)
	}
	if was := d.objects[k]; was != nil && was.unchanged(want) {
		if was.version != "" && seen.version != was.version {
			return fmt.Errorf("%v: nothing has changed but the revision, from %s to %s", k, was.version, seen.version)
		}
		was.version = seen.version
		return nil
	}
	want.version = seen.version
	d.put(k, want)
	return nil
}

// bind gives a pod a node.
func (d *driver) bind(o op) error {
	k, through := pickOf(o, "pods")
	was := d.objects[k]
	node := choose(o, dieVariant, nodes...)
	body := map[string]any{"apiVersion": "v1", "kind": "Binding", "metadata": map[string]any{"name": k.name, "namespace": k.namespace},
		"target": map[string]any{"kind": "Node", "name": node}}
	a, err := d.send(call{method: "POST", path: k.path(through) + "/binding" + query(o), contentType: jsonT, body: body}, wholly(o, k.kind))
	if err != nil {
		return err
	}
	wantCode := http.StatusCreated
	switch {
	case was == nil:
		wantCode = http.StatusNotFound
	case was.deleting || was.node != "":
		wantCode = http.StatusConflict
	}
	if a.code != wantCode {
		return fmt.Errorf("%v bound: %v, want %d", k, a, wantCode)
	}
	if wantCode != http.StatusCreated || dry(o) {
		return d.get(k)
	}
	want := was.clone()
	want.node = node
	return d.came(k, want)
}

// evict asks a pod to go, which no disruption budget forbids. First it gets a condition that says why.
func (d *driver) evict(o op) error {
	k, through := pickOf(o, "pods")
	was := d.objects[k]
	body := map[string]any{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": map[string]any{"name": k.name, "namespace": k.namespace}}
	how := deletionOf(o)
	options := how.options()
	if dry(o) {
		options["dryRun"] = []string{"All"}
	}
	body["deleteOptions"] = options
	a, err := d.send(call{method: "POST", path: k.path(through) + "/eviction", contentType: jsonT, body: body}, wholly(o, k.kind))
	if err != nil {
		return err
	}
	if was == nil {
		return d.expect(o, k, nil, a, http.StatusNotFound)
	}
	if a.code != http.StatusCreated {
		return fmt.Errorf("%v evicted: %v", k, a)
	}
	if dry(o) {
		return d.get(k)
	}
	if !was.evicted {
		next := was.clone()
		next.evicted, next.version = true, ""
		d.put(k, next)
	}
	return d.deleted(k, how)
}
