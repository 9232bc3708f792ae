package aggregation

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// FuzzPick: whatever an extension server says that it serves, what we show of it has a kind everywhere.
func FuzzPick(f *testing.F) {
	f.Add([]byte(`{"items":[{"metadata":{"name":"g"},"versions":[{"version":"v1","resources":[{"resource":"a","subresources":[{"subresource":"s"}]}]}]}]}`))
	f.Add([]byte(`{"items":[{"versions":[null]}]}`))
	e := &Extension{GroupVersion: schema.GroupVersion{Group: "g", Version: "v1"}}
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := e.pick(body)
		if err != nil {
			return
		}
		if d.Version != "v1" {
			t.Errorf("%q: version %q", body, d.Version)
		}
		for _, r := range d.Resources {
			if r.ResponseKind == nil {
				t.Errorf("%q: %s has no kind", body, r.Resource)
			}
		}
	})
}
