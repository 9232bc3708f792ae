package openapi

import (
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

// addCustom adds the schemas of the custom resources that wanted says, and of their lists, to all, for a document of version
// 3. It returns models with theirs.
func addCustom(resources []*catalogue.Resource, wanted func(schema.GroupVersion) bool, models map[string]string, all schemas) map[string]string {
	models = maps.Clone(models) // it is shared by all documents
	own := maps.Clone(all)
	put := func(model string, text []byte) {
		if own[model] == nil || !isEverywhere(model) { // what every document refers to stays as it is
			all[model] = text
		}
	}
	kinds := customOf(resources, wanted)
	for i, p := range definitionsV3(kinds) {
		kinds[i].nameModels(models, p)
		for _, e := range p {
			put(e.name, e.text)
		}
	}
	return models
}

// definitionsV3 returns the definitions of kinds.
func definitionsV3(kinds []custom) []part {
	out := make([]part, len(kinds))
	var writing errgroup.Group // of hundreds of kinds in a group, they take most of the time
	writing.SetLimit(runtime.GOMAXPROCS(0))
	for i, c := range kinds {
		writing.Go(func() error {
			data, err := c.Custom.Keep("version 3", func() ([]byte, error) {
				p, err := c.definitions(catalogue.OpenAPI3, schemaRefs, func(model string) (string, error) { return model, nil })
				return p.encode(), err
			})
			if err == nil {
				out[i], err = decodePart(data)
			}
			c.report(err)
			return nil
		})
	}
	writing.Wait() // none fails
	return out
}

// isEverywhere says whether a model may be one that every document refers to.
func isEverywhere(model string) bool {
	return strings.HasPrefix(model, metaModel) || strings.HasPrefix(model, scaleModel)
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

// definitions returns the schemas of c's objects and of their lists, in that order. refs is how the document's version writes
// a reference to a schema, and name says what a model is to be called.
func (c custom) definitions(of catalogue.OpenAPI, refs string, name func(model string) (string, error)) (part, error) {
	s, err := c.Custom.Schema(of)
	if err != nil {
		return nil, err
	}
	object, err := name(s.Model)
	if err != nil {
		return nil, err
	}
	list, err := name(strings.TrimSuffix(s.Model, "."+c.Kind) + "." + c.ListKind)
	if err != nil {
		return nil, err
	}
	return part{{inDefinitions, object, s.Text}, {inDefinitions, list, c.listSchema(object, refs, s.Selectable)}}, nil
}

// report says why c's schema is in no document.
func (c custom) report(err error) {
	if err != nil {
		slog.Warn("schema of a custom resource left out", "resource", c.GroupResource(), "version", c.version.Version, "err", err)
	}
}

// nameModels says which models are those of c's kinds: the names of its definitions, if it has any.
func (c custom) nameModels(models map[string]string, definitions part) {
	key := c.version.String() + "/"
	for i, kind := range []string{c.Kind, c.ListKind} {
		if i < len(definitions) {
			models[key+kind] = definitions[i].name
		}
	}
}

// listSchema is that of a list of c's objects. refs is how the document's version writes a reference to a schema.
func (c custom) listSchema(model, refs string, selectable []byte) []byte {
	meta := fmt.Sprintf(`"$ref":"%s%sListMeta"`, refs, metaModel)
	if refs == schemaRefs { // in version 3 a reference has no siblings
		meta = `"allOf":[{` + meta + `}]`
	}
	more := ""
	if selectable != nil {
		more = `,"x-kubernetes-selectable-fields":` + string(selectable)
	}
	return fmt.Appendf(nil, `{"description":"%[1]s is a list of %[2]s","type":"object","required":["items"],"properties":{`+
		`"apiVersion":{"description":"%[9]s","type":"string"},"kind":{"description":"%[10]s","type":"string"},`+
		`"items":{"description":"List of %[3]s. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md","type":"array","items":{"$ref":"%[4]s%[5]s"}},`+
		`"metadata":{"description":"%[12]s",%[6]s}},"x-kubernetes-group-version-kind":[{"group":"%[7]s","kind":"%[1]s","version":"%[8]s"}]%[11]s}`,
		c.ListKind, c.Kind, c.Name, refs, model, meta, c.version.Group, c.version.Version, typeDocs["apiVersion"], typeDocs["kind"], more, listDocs["metadata"])
}

// scaleModel begins the names of the schemas that a scale has.
const scaleModel = "io.k8s.api.autoscaling.v1."

// typeDocs describe what every kind says of itself, and listDocs what every list does.
var (
	typeDocs = metav1.TypeMeta{}.SwaggerDoc()
	listDocs = metav1.PartialObjectMetadataList{}.SwaggerDoc()
)
