package openapi

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/catalogue"
)

// A customizer adds the schemas of custom resources, which come with their descriptions, and of their lists.
type customizer struct {
	of     catalogue.OpenAPI
	refs   string // how the document's version writes a reference to a schema
	models map[string]string
	all    schemas
	own    schemas // those of the server's own kinds
}

// addCustom adds what wanted says. It returns models with those that were added.
func addCustom(resources []*catalogue.Resource, wanted func(schema.GroupVersion) bool, models map[string]string, all schemas, of catalogue.OpenAPI) map[string]string {
	c := customizer{of, schemaRefs, maps.Clone(models), all, maps.Clone(all)} // models are shared by all documents
	if of == catalogue.OpenAPI2 {
		c.refs = definitionRefs
	}
	found := customOf(resources, wanted)
	texts := make([]catalogue.Schema, len(found))
	var writing errgroup.Group // of hundreds of kinds, they take most of the time
	writing.SetLimit(runtime.GOMAXPROCS(0))
	for i, f := range found {
		writing.Go(func() (err error) {
			texts[i], err = f.Custom.Schema(of)
			if err != nil {
				slog.Warn("schema of a custom resource left out", "resource", f.GroupResource(), "version", f.version.Version, "err", err)
			}
			return nil
		})
	}
	writing.Wait()
	for i, f := range found {
		if texts[i].Text != nil {
			c.add(f.Resource, f.version, texts[i])
		}
	}
	return c.models
}

// A custom is one version of a custom resource.
type custom struct {
	*catalogue.Resource
	version schema.GroupVersion
}

// customOf lists the served ones that wanted says.
func customOf(resources []*catalogue.Resource, wanted func(schema.GroupVersion) bool) []custom {
	var out []custom
	for _, r := range resources {
		if r.Custom == nil {
			continue
		}
		if gv := r.GVK().GroupVersion(); !r.Custom.Unserved && wanted(gv) {
			out = append(out, custom{r, gv})
		}
		for _, v := range r.Also {
			if gv := (schema.GroupVersion{Group: r.Group, Version: v.Version}); wanted(gv) {
				out = append(out, custom{v.Resource, gv})
			}
		}
	}
	return out
}

// How documents refer to schemas.
const (
	schemaRefs     = "#/components/schemas/"
	definitionRefs = "#/definitions/"
)

func everything(schema.GroupVersion) bool { return true }

// add adds r's schema as gv has it.
func (c customizer) add(r *catalogue.Resource, gv schema.GroupVersion, s catalogue.Schema) {
	model, list := c.name(s.Model), c.name(strings.TrimSuffix(s.Model, "."+r.Kind)+"."+r.ListKind)
	key := gv.String() + "/"
	c.models[key+r.Kind], c.models[key+r.ListKind] = model, list
	c.put(model, json.RawMessage(s.Text))
	selectable := ""
	if s.Selectable != nil {
		selectable = `,"x-kubernetes-selectable-fields":` + string(s.Selectable)
	}
	c.put(list, json.RawMessage(fmt.Sprintf(`{"description":"%[1]s is a list of %[2]s","type":"object","required":["items"],"properties":{`+
		`"apiVersion":{"description":"%[9]s","type":"string"},"kind":{"description":"%[10]s","type":"string"},`+
		`"items":{"description":"List of %[3]s. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md","type":"array","items":{"$ref":"%[4]s%[5]s"}},`+
		`"metadata":{"$ref":"%[4]s%[6]sListMeta"}},"x-kubernetes-group-version-kind":[{"group":"%[7]s","kind":"%[1]s","version":"%[8]s"}]%[11]s}`,
		r.ListKind, r.Kind, r.Name, c.refs, model, metaModel, gv.Group, gv.Version, typeDocs["apiVersion"], typeDocs["kind"], selectable)))
}

// name gives way to the server's own kinds. Only the document of version 2 has all of them beside the custom ones.
func (c customizer) name(model string) string {
	if c.of != catalogue.OpenAPI2 || c.own[model] == nil {
		return model
	}
	for i := 2; ; i++ {
		if other := fmt.Sprintf("%s_v%d", model, i); c.own[other] == nil {
			return other
		}
	}
}

// put adds a schema. What every document refers to stays as it is.
func (c customizer) put(model string, schema json.RawMessage) {
	if c.own[model] != nil && (strings.HasPrefix(model, metaModel) || strings.HasPrefix(model, scaleModel)) {
		return
	}
	c.all[model] = schema
}

// scaleModel begins the names of the schemas that a scale has.
const scaleModel = "io.k8s.api.autoscaling.v1."

// typeDocs describe what every kind says of itself.
var typeDocs = metav1.TypeMeta{}.SwaggerDoc()
