package openapi

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"clipper/catalogue"
)

// TestBlueprints: the paths of a kind are what they are when they are written for it alone.
func TestBlueprints(t *testing.T) {
	v := newV2Writer(newEdition(1, nil, func() []Extension { return nil }), &ownPart{})
	byName := func(a, b entry) int {
		return strings.Compare(string('0'+a.section)+a.name, string('0'+b.section)+b.name)
	}
	for _, name := range []string{"example.com/Thing", "example.com/Apple", "example.com/Clothes", "a-b.example.k8s.io/Ox", "apimachinery.k8s.io/Glass", "k8s.io/V1"} {
		group, kind, _ := strings.Cut(name, "/")
		for n := range 32 {
			r := namesake(group, "v1beta1", kind, "com.example."+kind)
			r.Namespaced = n&1 != 0
			if n&2 != 0 {
				r.Status = &catalogue.Status{}
			}
			if n&4 != 0 {
				r.Scale = &catalogue.Scale{}
			}
			if r.Verbs = []string{"delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"}; n&8 != 0 {
				r.Verbs = []string{"delete", "deletecollection", "get", "list", "watch"}
			}
			c := customOf([]*catalogue.Resource{r}, everything)[0]
			models := map[string]string{scaleKind: "io.k8s.api.autoscaling.v1.Scale"}
			if n&16 != 0 {
				reversed := strings.Split(group, ".")
				slices.Reverse(reversed)
				model := strings.Join(reversed, ".") + ".v1beta1." + kind
				models[group+"/v1beta1/"+kind], models[group+"/v1beta1/"+kind+"List"] = model, model+"List"
			}
			want, _, err := common.paths(operations(c.Resource, c.version.Group, c.version.Version, models))
			if err != nil {
				t.Fatal(err)
			}
			got, err := v.paths(c, models)
			if err != nil {
				t.Fatal(err)
			}
			slices.SortFunc(got, byName)
			slices.SortFunc(want, byName)
			if got, want := got.encode(), want.encode(); !bytes.Equal(got, want) {
				t.Errorf("%s, %05b: %q\nwant %q", name, n, got, want)
			}
		}
	}
}
