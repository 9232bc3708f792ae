package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"

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
		for version, s := range r.Custom.Schemas {
			list := strings.TrimSuffix(s.Model, "."+r.Kind) + "." + r.ListKind
			key := r.Group + "/" + version + "/"
			models[key+r.Kind], models[key+r.ListKind] = s.Model, list
			all[s.Model] = json.RawMessage(pick(s))
			all[list] = json.RawMessage(fmt.Sprintf(`{"description":"%[1]s is a list of %[2]s","type":"object","required":["items"],"properties":{`+
				`"apiVersion":{"type":"string"},"kind":{"type":"string"},`+
				`"items":{"description":"List of %[3]s. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md","type":"array","items":{"$ref":"%[4]s%[5]s"}},`+
				`"metadata":{"$ref":"%[4]s%[6]sListMeta"}},"x-kubernetes-group-version-kind":[{"group":"%[7]s","kind":"%[1]s","version":"%[8]s"}]}`,
				r.ListKind, r.Kind, r.Name, refs, s.Model, metaModel, r.Group, version))
		}
	}
	return models
}
