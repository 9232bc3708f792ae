package openapi

import (
	"slices"
	"testing"
)

func TestReferences(t *testing.T) {
	for text, want := range map[string][]string{
		`{"a":{"$ref":"#/definitions/io.k8s.A"},"b":[{"$ref":"#/components/schemas/B"},{"$ref":"#/definitions/io.k8s.A"}]}`: {"io.k8s.A", "B", "io.k8s.A"},
		`{"$ref":"#/parameters/p","description":"#/definitions/C","x":"#/definitions/"}`:                                    {"C"},
		`{"$ref":"#/definitions/D`: nil,
		``:                         nil,
	} {
		var got []string
		eachReference([]byte(text), func(name string) { got = append(got, name) })
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q", text, got)
		}
	}
}
