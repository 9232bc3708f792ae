package ownership

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

const (
	// largeSize is how large an object must be, in protobuf, to have so many members in one place that their order
	// matters.
	largeSize = 32 << 10
	// largeCount is the same for objects without a protobuf form: how many members they have in all.
	largeCount = 4000
	// maxApplied bounds the members of one place that an apply goes through: it merges lists as they come, and what
	// the library makes in between has no order, so that its time is quadratic in them.
	maxApplied = 20_000
)

// isLarge says whether the order matters in which the library sees what obj has.
func isLarge(obj runtime.Object) bool {
	switch obj := obj.(type) {
	case *unstructured.Unstructured:
		left := largeCount
		count(obj.Object, &left)
		return left < 0
	case interface{ Size() int }:
		return obj.Size() > largeSize
	}
	return false
}

// count takes what is in v off left, until nothing is left.
func count(v any, left *int) {
	switch v := v.(type) {
	case map[string]any:
		*left -= len(v)
		for _, member := range v {
			if *left < 0 {
				return
			}
			count(member, left)
		}
	case []any:
		*left -= len(v)
		for _, item := range v {
			if *left < 0 {
				return
			}
			count(item, left)
		}
	}
}

// checkApplied refuses to merge what has too many members in one place.
func checkApplied(obj runtime.Object) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	n := len(content)
	for name, member := range content {
		n = max(n, most(without(name, member)))
	}
	if n > maxApplied {
		return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("server-side apply merges at most %d members of a list or map, got %d; use an update or another kind of patch", maxApplied, n))
	}
	return nil
}

// without leaves the owners out of an object's metadata: nothing is merged into them.
func without(name string, member any) any {
	metadata, ok := member.(map[string]any)
	if !ok || name != "metadata" {
		return member
	}
	metadata = maps.Clone(metadata)
	delete(metadata, "managedFields")
	return metadata
}

// most is how many members the largest list or map in v has.
func most(v any) (n int) {
	switch v := v.(type) {
	case map[string]any:
		n = len(v)
		for _, member := range v {
			n = max(n, most(member))
		}
	case []any:
		n = len(v)
		for _, item := range v {
			n = max(n, most(item))
		}
	}
	return n
}

// sortEntries returns entries, those that are long with their members in the order in which the library writes and best
// reads them: a client may send them in any.
func sortEntries(entries []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	long := func(e metav1.ManagedFieldsEntry) bool { return e.FieldsV1 != nil && len(e.FieldsV1.Raw) > largeSize }
	if !slices.ContainsFunc(entries, long) {
		return entries
	}
	out := slices.Clone(entries)
	for i := range out {
		if !long(out[i]) {
			continue
		}
		var members any
		if json.Unmarshal(out[i].FieldsV1.Raw, &members) != nil {
			continue // the library will say so
		}
		var sorted bytes.Buffer
		if writeSorted(&sorted, members) == nil {
			out[i].FieldsV1 = &metav1.FieldsV1{Raw: sorted.Bytes()}
		}
	}
	return out
}

func writeSorted(w *bytes.Buffer, v any) error {
	members, ok := v.(map[string]any)
	if !ok {
		return json.NewEncoder(w).Encode(v)
	}
	w.WriteByte('{')
	for i, name := range sortedNames(members) {
		if i > 0 {
			w.WriteByte(',')
		}
		text, err := json.Marshal(name)
		if err != nil {
			return err
		}
		w.Write(text)
		w.WriteByte(':')
		if err := writeSorted(w, members[name]); err != nil {
			return err
		}
	}
	w.WriteByte('}')
	return nil
}

// sortedNames are the names of members, in the order of the path elements that they stand for.
func sortedNames(members map[string]any) []string {
	type named struct {
		name    string
		element fieldpath.PathElement
	}
	all := make([]named, 0, len(members))
	for name := range members {
		element, _ := fieldpath.DeserializePathElement(name) // one that is none the library will complain of, or skip
		all = append(all, named{name, element})
	}
	slices.SortFunc(all, func(a, b named) int { return a.element.Compare(b.element) })
	names := make([]string, len(all))
	for i := range all {
		names[i] = all[i].name
	}
	return names
}
