package apiserver_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A model is what a server should be: an obvious map, with the history of all that happened to it. Objects are
// reduced to what every kind has: labels, annotations, finalizers, a generation, owners of fields; and for the
// custom resource a number in its spec and one in its status.
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

type modelObject struct {
	fields     map[string]string              // "labels/a", "annotations/b", "spec", "status"
	owners     map[string]map[modelOwner]bool // by field; of "labels" and "annotations", too: see appears
	finalizers []string
	deleting   bool
	generation int64
	version    string // as the server said
	uid        string
}

// A modelOwner is an entry of managedFields.
type modelOwner struct {
	manager string
	applied bool
}

// A modelChange is one event: was and is are nil where there was or is nothing. Those of one operation come in
// any order.
type modelChange struct {
	key       modelKey
	was, is   *modelObject
	operation int
}

func newModel() *model { return &model{objects: map[modelKey]*modelObject{}} }

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

// appears returns the groups, "labels" or "annotations", of which o has none and fields have some. Who makes such a map
// by an update owns the map itself, even when an apply has taken the last of its fields: so upstream's library keeps it.
func (o *modelObject) appears(fields map[string]string) []string {
	return slices.DeleteFunc([]string{"labels", "annotations"}, func(group string) bool {
		return has(o.fields, group) || !has(fields, group)
	})
}

// specMap is the spec itself, beside the field in it, as something to own.
const specMap = "spec."

// leavesNull says whether an apply that makes next of o takes the last field of a spec that somebody owns as such.
// Upstream's library then leaves null behind, which is no object: the apply is refused.
func (o *modelObject) leavesNull(next *modelObject) bool {
	_, had := o.fields["spec"]
	_, has := next.fields["spec"]
	return had && !has && len(o.owners[specMap]) > 0
}

func has(fields map[string]string, group string) bool {
	for f := range fields {
		if strings.HasPrefix(f, group+"/") {
			return true
		}
	}
	return false
}

// set makes fields those of o as an update by a manager does: who changes a field owns it, alone.
func (o *modelObject) set(fields map[string]string, by modelOwner) {
	for _, group := range o.appears(fields) {
		o.owners[group] = map[modelOwner]bool{by: true}
	}
	for _, group := range (&modelObject{fields: fields}).appears(o.fields) {
		delete(o.owners, group)
	}
	switch _, had := o.fields["spec"]; {
	case fields["spec"] == "":
		delete(o.owners, specMap)
	case !had:
		o.owners[specMap] = map[modelOwner]bool{by: true}
	}
	for f := range o.fields {
		if _, kept := fields[f]; !kept {
			delete(o.fields, f)
			delete(o.owners, f)
		}
	}
	for f, v := range fields {
		if old, had := o.fields[f]; had && old == v {
			continue
		}
		o.fields[f] = v
		o.owners[f] = map[modelOwner]bool{by: true}
	}
}

// apply merges a server-side apply of fields; it returns the conflicts, and does nothing if there are any that are
// not forced.
func (o *modelObject) apply(fields map[string]string, by modelOwner, force bool) (conflicts []string) {
	appear := o.appears(fields)
	for _, group := range appear {
		for who := range o.owners[group] {
			conflicts = append(conflicts, fmt.Sprintf("%s of %s", group, who.manager))
		}
	}
	for f, v := range fields {
		for who := range o.owners[f] {
			if who != by && o.fields[f] != v {
				conflicts = append(conflicts, fmt.Sprintf("%s of %s", f, who.manager))
			}
		}
	}
	if len(conflicts) > 0 && !force {
		slices.Sort(conflicts)
		return conflicts
	}
	for _, group := range appear {
		delete(o.owners, group)
	}
	for f := range o.owners {
		if _, still := fields[f]; o.owners[f][by] && !still {
			if delete(o.owners[f], by); len(o.owners[f]) == 0 { // nobody else wants it
				delete(o.owners, f)
				delete(o.fields, f)
			}
		}
	}
	for f, v := range fields {
		if old, had := o.fields[f]; !had || old != v {
			o.owners[f] = map[modelOwner]bool{}
		}
		o.fields[f] = v
		o.owners[f][by] = true
	}
	return nil
}

// unchanged says whether a write would leave the object as it is.
func (o *modelObject) unchanged(next *modelObject) bool {
	return maps.Equal(o.fields, next.fields) && slices.Equal(o.finalizers, next.finalizers) && o.deleting == next.deleting &&
		maps.EqualFunc(o.owners, next.owners, maps.Equal)
}

// body is the object as a client sends it.
func (o *modelObject) body(k modelKey, managed bool) map[string]any {
	meta := map[string]any{"name": k.name, "namespace": k.namespace}
	labels, annotations := map[string]any{}, map[string]any{}
	obj := map[string]any{"apiVersion": kinds[k.kind].version, "kind": kinds[k.kind].kind, "metadata": meta}
	for f, v := range o.fields {
		switch group, name, _ := strings.Cut(f, "/"); group {
		case "labels":
			labels[name] = v
		case "annotations":
			annotations[name] = v
		default:
			obj[group] = map[string]any{"n": json.Number(v)}
		}
	}
	if len(labels) > 0 {
		meta["labels"] = labels
	}
	if len(annotations) > 0 {
		meta["annotations"] = annotations
	}
	if len(o.finalizers) > 0 && !managed {
		meta["finalizers"] = o.finalizers
	}
	return obj
}

// observed reads an answer of the server back into the model's terms.
func observed(obj map[string]any) (modelKey, *modelObject) {
	meta, _ := obj["metadata"].(map[string]any)
	text := func(name string) string { s, _ := meta[name].(string); return s }
	o := &modelObject{fields: map[string]string{}, version: text("resourceVersion"), uid: text("uid")}
	for _, group := range []string{"labels", "annotations"} {
		set, _ := meta[group].(map[string]any)
		for name, v := range set {
			o.fields[group+"/"+name] = fmt.Sprint(v)
		}
	}
	for _, part := range []string{"spec", "status"} {
		if set, _ := obj[part].(map[string]any); set["n"] != nil {
			o.fields[part] = fmt.Sprint(set["n"])
		}
	}
	list, _ := meta["finalizers"].([]any)
	for _, f := range list {
		o.finalizers = append(o.finalizers, fmt.Sprint(f))
	}
	o.deleting = meta["deletionTimestamp"] != nil
	o.generation, _ = json.Number(fmt.Sprint(meta["generation"])).Int64()
	o.owners = observedOwners(meta["managedFields"])
	return modelKey{namespace: text("namespace"), name: text("name")}, o
}

// observedOwners reads managedFields.
func observedOwners(managed any) map[string]map[modelOwner]bool {
	out := map[string]map[modelOwner]bool{}
	entries, _ := managed.([]any)
	for _, e := range entries {
		entry := e.(map[string]any)
		who := modelOwner{manager: fmt.Sprint(entry["manager"]), applied: entry["operation"] == "Apply"}
		owned := func(f string) {
			if out[f] == nil {
				out[f] = map[modelOwner]bool{}
			}
			out[f][who] = true
		}
		fields, _ := entry["fieldsV1"].(map[string]any)
		meta, _ := fields["f:metadata"].(map[string]any)
		for _, group := range []string{"labels", "annotations"} {
			set, any := meta["f:"+group].(map[string]any)
			if any && len(set) == 0 {
				owned(group)
			}
			for f := range set {
				if name, ok := strings.CutPrefix(f, "f:"); ok {
					owned(group + "/" + name)
				} else {
					owned(group)
				}
			}
		}
		for _, part := range []string{"spec", "status"} {
			set, any := fields["f:"+part].(map[string]any)
			if set["f:n"] != nil {
				owned(part)
			}
			if part == "spec" && any && (set["."] != nil || len(set) == 0) {
				owned(specMap)
			}
		}
	}
	return out
}

// differs says how an observed object is not what the model has; "" if it is.
func (o *modelObject) differs(seen *modelObject) string {
	switch {
	case !maps.Equal(o.fields, seen.fields):
		return fmt.Sprintf("fields %v, want %v", seen.fields, o.fields)
	case !slices.Equal(o.finalizers, seen.finalizers):
		return fmt.Sprintf("finalizers %v, want %v", seen.finalizers, o.finalizers)
	case o.deleting != seen.deleting:
		return fmt.Sprintf("deleting %v, want %v", seen.deleting, o.deleting)
	case o.generation != seen.generation:
		return fmt.Sprintf("generation %d, want %d", seen.generation, o.generation)
	case o.uid != "" && o.uid != seen.uid:
		return fmt.Sprintf("uid %s, want %s", seen.uid, o.uid)
	case !maps.EqualFunc(o.owners, seen.owners, maps.Equal):
		return fmt.Sprintf("owners %v, want %v", seen.owners, o.owners)
	}
	return ""
}

// A modelSelector picks by one label: equal to a value, or present if it is "".
type modelSelector struct{ label, value string }

func (s modelSelector) query() string {
	switch {
	case s.label == "":
		return ""
	case s.value == "":
		return s.label
	}
	return s.label + "=" + s.value
}

func (s modelSelector) matches(o *modelObject) bool {
	if o == nil {
		return false
	}
	v, ok := o.fields["labels/"+s.label]
	return s.label == "" || ok && (s.value == "" || v == s.value)
}

// list returns the keys of a namespace ("": all) that are selected, in the order of a list.
func (m *model) list(kind, namespace string, s modelSelector) []modelKey {
	var out []modelKey
	for k, o := range m.objects {
		if k.kind == kind && (namespace == "" || k.namespace == namespace) && s.matches(o) {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, modelKey.compare)
	return out
}

// events returns what a watch sees of the history behind a point in it, by operation.
func (m *model) events(after int, kind, namespace string, s modelSelector) [][]string {
	var out [][]string
	operation := -1
	for _, c := range m.history[after:] {
		if c.key.kind != kind || namespace != "" && c.key.namespace != namespace {
			continue
		}
		text := c.event(s)
		if text == "" {
			continue
		}
		if c.operation != operation {
			out, operation = append(out, nil), c.operation
		}
		out[len(out)-1] = append(out[len(out)-1], text)
	}
	return out
}

// event is what a watch that selects by s sees of the change; "" for nothing.
func (c modelChange) event(s modelSelector) string {
	name := c.key.namespace + "/" + c.key.name
	switch was, is := s.matches(c.was), s.matches(c.is); {
	case was && is:
		return "MODIFIED " + name + " " + c.is.version
	case is:
		return "ADDED " + name + " " + c.is.version
	case was:
		return "DELETED " + name
	}
	return ""
}
