package openapi

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/catalogue"
)

// addCustom adds the schemas of custom resources, which come with their descriptions, and of their lists.
// refs is how the document's version writes a reference to a schema. It returns models with theirs.
func addCustom(resources []*catalogue.Resource, models map[string]string, all schemas, refs string, pick func(catalogue.Schema) []byte) map[string]string {
	models = maps.Clone(models) // it is shared by all documents
	for _, r := range resources {
		if r.Custom == nil {
			continue
		}
		if !r.Custom.Unserved {
			addVersion(r, r.Version, models, all, refs, pick)
		}
		for _, v := range r.Also {
			addVersion(v.Resource, v.Version, models, all, refs, pick)
		}
	}
	return models
}

func addVersion(r *catalogue.Resource, version string, models map[string]string, all schemas, refs string, pick func(catalogue.Schema) []byte) {
	s, err := r.Custom.Schema()
	if err != nil {
		slog.Warn("schema of a custom resource left out", "resource", r.GroupResource(), "version", version, "err", err)
		return
	}
	list := strings.TrimSuffix(s.Model, "."+r.Kind) + "." + r.ListKind
	key := r.Group + "/" + version + "/"
	models[key+r.Kind], models[key+r.ListKind] = s.Model, list
	all[s.Model] = json.RawMessage(pick(s))
	selectable := ""
	if s.Selectable != nil {
		selectable = `,"x-kubernetes-selectable-fields":` + string(s.Selectable)
	}
	all[list] = json.RawMessage(fmt.Sprintf(`{"description":"%[1]s is a list of %[2]s","type":"object","required":["items"],"properties":{`+
		`"apiVersion":{"description":"%[9]s","type":"string"},"kind":{"description":"%[10]s","type":"string"},`+
		`"items":{"description":"List of %[3]s. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md","type":"array","items":{"$ref":"%[4]s%[5]s"}},`+
		`"metadata":{"$ref":"%[4]s%[6]sListMeta"}},"x-kubernetes-group-version-kind":[{"group":"%[7]s","kind":"%[1]s","version":"%[8]s"}]%[11]s}`,
		r.ListKind, r.Kind, r.Name, refs, s.Model, metaModel, r.Group, version, typeDocs["apiVersion"], typeDocs["kind"], selectable))
}

// typeDocs describe what every kind says of itself.
var typeDocs = metav1.TypeMeta{}.SwaggerDoc()
