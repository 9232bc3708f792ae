package pipeline

import (
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"clipper/api"
)

const (
	// maxPairs bounds a strategic merge patch: the library compares every entry of the lists that it merges with every
	// other, several times, so that 4,000 variables of one container cost it many seconds.
	maxPairs = 3000 * 3000
	// fewBytes is how large object and patch may be to have so few entries that nobody needs to count them.
	fewBytes = 8 << 10
)

// checkStrategic refuses a patch that would take too long to merge.
func checkStrategic(old api.Object, before, change map[string]any, size int, kind runtime.Object) error {
	if sized, ok := old.(message); ok && size <= fewBytes && sized.Size() <= fewBytes {
		return nil
	}
	meta, err := strategicpatch.NewPatchMetaFromStruct(kind)
	if err != nil {
		return nil // the merge will say so
	}
	if pairs(before, change, meta) > maxPairs {
		return apierrors.NewRequestEntityTooLargeError("the lists that this strategic merge patch merges are too long: there are more than 9 million pairs of their entries; use an update or another kind of patch")
	}
	return nil
}

// pairs is about how many pairs of entries the library compares.
func pairs(before, change map[string]any, meta strategicpatch.LookupPatchMeta) (n float64) {
	for name, v := range change {
		name = strings.TrimPrefix(name, "$setElementOrder/")
		switch v := v.(type) {
		case map[string]any:
			inside, _ := before[name].(map[string]any)
			if of, _, err := meta.LookupPatchMetadataForStruct(name); err == nil {
				n += pairs(inside, v, of)
			}
		case []any:
			list, _ := before[name].([]any)
			if of, how, err := meta.LookupPatchMetadataForSlice(name); err == nil && slices.Contains(how.GetPatchStrategies(), mergeStrategy) {
				n += float64(len(list)+len(v))*float64(len(list)+len(v)) + pairsInside(list, v, of, how.GetPatchMergeKey())
			}
		}
	}
	return n
}

// mergeStrategy is that of lists whose entries are merged.
const mergeStrategy = "merge"

// pairsInside is the same for the lists in the entries of a list. Every entry that comes again finds more than the one before.
func pairsInside(before, change []any, meta strategicpatch.LookupPatchMeta, key string) (n float64) {
	if key == "" {
		return 0 // they are no objects
	}
	known := map[string]map[string]any{}
	for _, v := range before {
		if entry, ok := v.(map[string]any); ok {
			known[fmt.Sprint(entry[key])] = entry
		}
	}
	times := map[string]float64{}
	for _, v := range change {
		if entry, ok := v.(map[string]any); ok {
			name := fmt.Sprint(entry[key])
			times[name]++
			n += times[name] * times[name] * pairs(known[name], entry, meta)
		}
	}
	return n
}

// mergeStrategic refuses what upstream's library panics at: entries of lists whose key is a list or an object, as a
// container whose name is [].
func mergeStrategic(before, change map[string]any, kind runtime.Object) (after map[string]any, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = apierrors.NewBadRequest(fmt.Sprintf("the patch cannot be merged: %v", cause))
		}
	}()
	return strategicpatch.StrategicMergeMapPatch(before, change, kind)
}

func strategicError(err error) error {
	switch err {
	case mergepatch.ErrBadJSONDoc, mergepatch.ErrBadPatchFormatForPrimitiveList, mergepatch.ErrBadPatchFormatForRetainKeys,
		mergepatch.ErrBadPatchFormatForSetElementOrderList, mergepatch.ErrUnsupportedStrategicMergePatchFormat:
		return apierrors.NewBadRequest(err.Error())
	case mergepatch.ErrNoListOfLists, mergepatch.ErrPatchContentNotMatchRetainKeys:
		return unprocessable(err)
	}
	return err
}
