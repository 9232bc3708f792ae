package jsonpatch

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"runtime"
	"strings"
	"testing"

	"gopkg.in/evanphx/json-patch.v4"
)

// TestMergeAsLibrary: what is merged here is merged as the library does.
func TestMergeAsLibrary(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	for range 5000 {
		document, patch := randomObject(random, 4), randomObject(random, 4)
		want, wantErr := jsonpatch.MergePatch([]byte(document), []byte(patch))
		got, err := mergeAtOnce([]byte(document), []byte(patch))
		if same(t, want) != same(t, got) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Fatalf("%s with %s\n%s, %v\n%s, %v", document, patch, want, wantErr, got, err)
		}
	}
	for _, tt := range [][2]string{{"{}", "null"}, {"null", "{}"}, {"{}", "{"}, {"{", "{}"}, {"{}", "{} {}"}, {"{}", ""}} {
		_, wantErr := jsonpatch.MergePatch([]byte(tt[0]), []byte(tt[1]))
		if _, err := mergeAtOnce([]byte(tt[0]), []byte(tt[1])); err != wantErr {
			t.Errorf("%q: %v, want %v", tt, err, wantErr)
		}
	}
}

// same is text with its members in order: the library leaves those as they were that it does not look at.
func same(t *testing.T, text []byte) string {
	t.Helper()
	v, ok := object(text)
	if !ok {
		t.Fatalf("%s is no object", text)
	}
	sorted, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(sorted)
}

func randomObject(random *rand.Rand, deep int) string {
	var members []string
	for _, i := range random.Perm(4)[:random.Intn(5)] {
		members = append(members, fmt.Sprintf("%q:%s", string(rune('a'+i)), randomValue(random, deep-1)))
	}
	return "{" + strings.Join(members, ",") + "}"
}

func randomValue(random *rand.Rand, deep int) string {
	kinds := 7
	if deep == 0 {
		kinds = 5
	}
	switch random.Intn(kinds) {
	case 0:
		return "null"
	case 1:
		return `"<\" ]"`
	case 2:
		return "1.50e400"
	case 3:
		return "true"
	case 4:
		return "9007199254740993"
	case 5:
		return "[" + randomValue(random, deep-1) + "," + randomValue(random, deep-1) + "]"
	}
	return randomObject(random, deep)
}

// TestDeepMerge: a patch is not read again for each of its levels.
func TestDeepMerge(t *testing.T) {
	const levels = 9000
	long := strings.Repeat("]", 1<<20)
	patch := strings.Repeat(`{"a":`, levels) + `"` + long + `"` + strings.Repeat("}", levels)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, err := Merge([]byte(`{"a":{"b":1}}`), []byte(patch))
	runtime.ReadMemStats(&after)
	if err != nil || !json.Valid(got) || depth(got) != levels {
		t.Errorf("%v, %d levels", err, depth(got))
	}
	if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 200 {
		t.Errorf("took %d MB", took)
	}
}

// FuzzMerge: nothing makes it panic, and both ways give what is JSON or an error.
func FuzzMerge(f *testing.F) {
	f.Add(`{"a":{"b":1}}`, `{"a":{"b":null,"c":[null]}}`)
	f.Add(`{}`, `{"\"}":"\\]"}`)
	f.Fuzz(func(t *testing.T, document, patch string) {
		for _, merge := range []func(document, patch []byte) ([]byte, error){Merge, mergeAtOnce} {
			if got, err := merge([]byte(document), []byte(patch)); err == nil && !json.Valid(got) {
				t.Errorf("%s with %s: %s", document, patch, got)
			}
		}
	})
}
