package modeltest

import (
	"slices"
)

// A selection is a label selector and a field selector, with what they mean.
type selection struct {
	labels, fields string
	matches        func(k modelKey, o *modelObject) bool
}

func everything(modelKey, *modelObject) bool { return true }

// byLabel returns a selection by one label.
func byLabel(selector, label string, matches func(value string) bool) selection {
	return selection{labels: selector, matches: func(_ modelKey, o *modelObject) bool { return matches(o.fields["labels/"+label]) }}
}

// The selections that every kind knows. A label's value is never "".
var selections = []selection{
	{matches: everything},
	{matches: everything},
	byLabel("x", "x", func(v string) bool { return v != "" }),
	byLabel("x=1", "x", func(v string) bool { return v == "1" }),
	byLabel("y=2", "y", func(v string) bool { return v == "2" }),
	byLabel("!x", "x", func(v string) bool { return v == "" }),
	byLabel("x!=1", "x", func(v string) bool { return v != "1" }),
	byLabel("x in (1,2)", "x", func(v string) bool { return v == "1" || v == "2" }),
	byLabel("x notin (1,2)", "x", func(v string) bool { return v != "1" && v != "2" }),
	{labels: "x,y!=1", matches: func(_ modelKey, o *modelObject) bool {
		return o.fields["labels/x"] != "" && o.fields["labels/y"] != "1"
	}},
	{fields: "metadata.name=a", matches: func(k modelKey, _ *modelObject) bool { return k.name == "a" }},
	{fields: "metadata.name!=a", matches: func(k modelKey, _ *modelObject) bool { return k.name != "a" }},
	{fields: "metadata.namespace=one", matches: func(k modelKey, _ *modelObject) bool { return k.namespace == "one" }},
	{fields: "metadata.name=b,metadata.namespace!=one", labels: "x", matches: func(k modelKey, o *modelObject) bool {
		return k.name == "b" && k.namespace != "one" && o.fields["labels/x"] != ""
	}},
}

// Those that pods know, and custom resources.
var (
	podSelections = []selection{
		{fields: "spec.nodeName=n1", matches: func(_ modelKey, o *modelObject) bool { return o.node == "n1" }},
		{fields: "spec.nodeName=", matches: func(_ modelKey, o *modelObject) bool { return o.node == "" }},
		{fields: "spec.nodeName!=n1", matches: func(_ modelKey, o *modelObject) bool { return o.node != "n1" }},
		{fields: "status.phase=Running", matches: func(_ modelKey, o *modelObject) bool { return o.phase == "Running" }},
		{fields: "status.phase!=Failed,spec.nodeName!=", labels: "x!=1", matches: func(_ modelKey, o *modelObject) bool {
			return o.phase != "Failed" && o.node != "" && o.fields["labels/x"] != "1"
		}},
	}
	customSelections = []selection{
		{fields: "spec.n=1", matches: func(_ modelKey, o *modelObject) bool { return o.fields["spec"] == "1" }},
		{fields: "spec.n!=2", labels: "x", matches: func(_ modelKey, o *modelObject) bool {
			return o.fields["spec"] != "2" && o.fields["labels/x"] != ""
		}},
	}
)

// selectionsOf returns those that a kind knows.
func selectionsOf(kind string) []selection {
	switch {
	case kinds[kind].pod:
		return slices.Concat(selections, podSelections, podSelections)
	case kinds[kind].custom():
		return slices.Concat(selections, customSelections, customSelections)
	}
	return selections
}

// A collection is what a list or a watch is about.
type collection struct {
	kind, namespace string // "": all namespaces
	selection
}

func (c collection) has(k modelKey, o *modelObject) bool {
	return o != nil && k.kind == c.kind && (c.namespace == "" || k.namespace == c.namespace) && c.matches(k, o)
}

// list returns the keys of a collection, in the order of a list.
func (m *model) list(c collection) []modelKey {
	var out []modelKey
	for k, o := range m.objects {
		if c.has(k, o) {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, modelKey.compare)
	return out
}

// at is the model as it was when its history was of some length.
func (m *model) at(length int) *model {
	past := newModel()
	for _, c := range m.history[:length] {
		past.put(c.key, c.is)
	}
	return past
}

// show tells objects as answered tells those of an answer.
func (m *model) show(keys []modelKey, versions bool) []string {
	out := []string{}
	for _, k := range keys {
		text := k.namespace + "/" + k.name
		if versions {
			text += " " + m.objects[k].version
		}
		out = append(out, text)
	}
	return out
}

// events returns what a watch sees of the history behind a point in it, by operation.
func (m *model) events(after int, c collection) [][]string {
	var out [][]string
	operation := -1
	for _, change := range m.history[after:] {
		text := change.event(c)
		if text == "" {
			continue
		}
		if change.operation != operation {
			out, operation = append(out, nil), change.operation
		}
		out[len(out)-1] = append(out[len(out)-1], text)
	}
	return out
}

// event is what a watch of a collection sees of the change; "" for nothing.
func (c modelChange) event(of collection) string {
	name := c.key.namespace + "/" + c.key.name
	switch was, is := of.has(c.key, c.was), of.has(c.key, c.is); {
	case was && is:
		return "MODIFIED " + name + " " + c.is.version
	case is:
		return "ADDED " + name + " " + c.is.version
	case was:
		return "DELETED " + name
	}
	return ""
}
