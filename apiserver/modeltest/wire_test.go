package modeltest

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
)

// body is the object as a client sends it through a door. applied: as it applies it.
func (o *modelObject) body(k modelKey, through door, applied bool) map[string]any {
	meta := map[string]any{"name": k.name}
	if k.namespace != "" {
		meta["namespace"] = k.namespace
	}
	labels, annotations := map[string]any{}, map[string]any{}
	obj := map[string]any{"apiVersion": through.version, "kind": kinds[k.kind].kind, "metadata": meta}
	maps.Copy(obj, kinds[k.kind].fixed)
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
	if len(o.finalizers) > 0 && !applied {
		meta["finalizers"] = o.finalizers
	}
	if kinds[k.kind].pod {
		obj["spec"] = podSpec(k, o.node)
	}
	return obj
}

// podSpec is what never changes of a pod, and its node.
func podSpec(k modelKey, node string) map[string]any {
	spec := map[string]any{
		"terminationGracePeriodSeconds": terminationGrace(k),
		"containers":                    []any{map[string]any{"name": "c", "image": "example.com/i"}},
	}
	if node != "" {
		spec["nodeName"] = node
	}
	return spec
}

// observed reads an answer of the server back into the model's terms. partial: it shows no more than metadata.
func observed(obj map[string]any) (k modelKey, o *modelObject, partial bool) {
	if rows, ok := obj["rows"].([]any); ok && len(rows) == 1 {
		obj, _ = rows[0].(map[string]any)["object"].(map[string]any)
	}
	meta, _ := obj["metadata"].(map[string]any)
	text := func(name string) string { s, _ := meta[name].(string); return s }
	o = &modelObject{fields: map[string]string{}, version: text("resourceVersion"), uid: text("uid")}
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
	o.grace, o.generation = number(meta["deletionGracePeriodSeconds"]), number(meta["generation"])
	o.owners = observedOwners(meta["managedFields"])
	o.observePod(obj)
	return modelKey{namespace: text("namespace"), name: text("name")}, o, obj["kind"] == "PartialObjectMetadata"
}

// number is 0 for what is none.
func number(v any) int64 {
	n, _ := json.Number(fmt.Sprint(v)).Int64()
	return n
}

func (o *modelObject) observePod(obj map[string]any) {
	spec, _ := obj["spec"].(map[string]any)
	status, _ := obj["status"].(map[string]any)
	o.node, _ = spec["nodeName"].(string)
	o.phase, _ = status["phase"].(string)
}

// observedOwners reads managedFields.
func observedOwners(managed any) map[string]map[modelOwner]bool {
	out := map[string]map[modelOwner]bool{}
	entries, _ := managed.([]any)
	for _, e := range entries {
		entry := e.(map[string]any)
		who := modelOwner{manager: fmt.Sprint(entry["manager"]), applied: entry["operation"] == "Apply"}
		who.subresource, _ = entry["subresource"].(string)
		who.version, _ = entry["apiVersion"].(string)
		fields, _ := entry["fieldsV1"].(map[string]any)
		for _, f := range ownedFields(fields) {
			if out[f] == nil {
				out[f] = map[modelOwner]bool{}
			}
			out[f][who] = true
		}
	}
	return out
}

// ownedFields reads one entry of managedFields.
func ownedFields(fields map[string]any) (out []string) {
	meta, _ := fields["f:metadata"].(map[string]any)
	for _, group := range []string{"labels", "annotations"} {
		set, any := meta["f:"+group].(map[string]any)
		if any && len(set) == 0 {
			out = append(out, group)
		}
		for f := range set {
			if name, ok := strings.CutPrefix(f, "f:"); ok {
				out = append(out, group+"/"+name)
			} else {
				out = append(out, group)
			}
		}
	}
	for _, part := range []string{"spec", "status"} {
		set, any := fields["f:"+part].(map[string]any)
		if set["f:n"] != nil {
			out = append(out, part)
		}
		if part == "spec" && any && (set["."] != nil || len(set) == 0) {
			out = append(out, specMap)
		}
	}
	return out
}

// items are the objects of a list, or of a table.
func items(list map[string]any) []any {
	if rows, ok := list["rows"].([]any); ok {
		out := make([]any, len(rows))
		for i, row := range rows {
			out[i] = row.(map[string]any)["object"]
		}
		return out
	}
	out, _ := list["items"].([]any)
	return out
}

// answered tells the items of a list.
func answered(list map[string]any, versions bool) []string {
	out := []string{}
	for _, item := range items(list) {
		k, o, _ := observed(item.(map[string]any))
		text := k.namespace + "/" + k.name
		if versions {
			text += " " + o.version
		}
		out = append(out, text)
	}
	return out
}

func listMeta(list map[string]any, name string) string {
	meta, _ := list["metadata"].(map[string]any)
	text, _ := meta[name].(string)
	return text
}
