package jsonpatch

import (
	"bytes"
	"encoding/json"

	"gopkg.in/evanphx/json-patch.v4"
)

// affordable is how many bytes may be read by a library that reads a document again for each level that a patch has.
const affordable = 16 << 20

// Merge returns document as a JSON merge patch changes it. The library's cost is the patch's depth times the size of
// both, in memory too: a patch that would cost too much is merged here.
func Merge(document, patch []byte) ([]byte, error) {
	if depth(patch)*(len(document)+len(patch)) <= affordable {
		return jsonpatch.MergePatch(document, patch)
	}
	return mergeAtOnce(document, patch)
}

func mergeAtOnce(document, patch []byte) ([]byte, error) {
	doc, ok := object(document)
	if !ok {
		return nil, jsonpatch.ErrBadJSONDoc
	}
	changes, ok := object(patch)
	if !ok {
		return nil, jsonpatch.ErrBadJSONPatch
	}
	merge(doc, changes)
	return json.Marshal(doc)
}

// depth is how deep objects and lists lie in each other, at most.
func depth(text []byte) (most int) {
	now, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case quoted:
			if c == '\\' {
				i++
			}
		case c == '{', c == '[':
			now++
			most = max(most, now)
		case c == '}', c == ']':
			now--
		}
	}
	return most
}

// object reads one, numbers as they are written.
func object(text []byte) (members map[string]any, ok bool) {
	if !json.Valid(text) { // a decoder would stop behind the first value
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	err := d.Decode(&members)
	return members, err == nil && members != nil
}

// merge changes doc as the patch says: null takes a member away. What takes an object's place keeps its nulls, as the
// library has it.
func merge(doc, patch map[string]any) {
	for name, change := range patch {
		if change == nil {
			delete(doc, name)
			continue
		}
		old, isObject := doc[name].(map[string]any)
		below, isMerge := change.(map[string]any)
		switch {
		case isObject && isMerge:
			merge(old, below)
		case isObject:
			doc[name] = change
		default:
			doc[name] = withoutNulls(change)
		}
	}
}

// withoutNulls takes members that are null out of what a patch adds. In lists they stay.
func withoutNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			if member == nil {
				delete(v, name)
			} else {
				withoutNulls(member)
			}
		}
	case []any:
		for _, item := range v {
			withoutNulls(item)
		}
	}
	return v
}
