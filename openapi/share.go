package openapi

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"hash/fnv"
	"slices"
	"strings"

	"k8s.io/kube-openapi/pkg/validation/spec"
)

// A pathItem is what the documents say of one path: its operations by method, and the parameters they have in common.
type pathItem = map[string]any

// setParameters gives an operation or a path its parameters, ordered as upstream orders them.
func setParameters(of map[string]any, parameters []map[string]any) {
	if len(parameters) == 0 {
		delete(of, "parameters")
		return
	}
	slices.SortFunc(parameters, func(a, b map[string]any) int {
		return cmp.Or(strings.Compare(a["name"].(string), b["name"].(string)), strings.Compare(a["in"].(string), b["in"].(string)))
	})
	of["parameters"] = parameters
}

func parametersIn(of any) []map[string]any {
	out, _ := of.(map[string]any)["parameters"].([]map[string]any)
	return out
}

func keyOfParameter(p map[string]any) string { return p["in"].(string) + " " + p["name"].(string) }

// lift moves the parameters that all operations of a path have to the path. A body is each one's own.
func lift(item pathItem) {
	counts, common := map[string]int{}, map[string]map[string]any{}
	for _, op := range item {
		for _, p := range parametersIn(op) {
			if p["in"] != "body" {
				counts[keyOfParameter(p)]++
				common[keyOfParameter(p)] = p
			}
		}
	}
	var lifted []map[string]any
	for key, p := range common {
		if counts[key] == len(item) {
			lifted = append(lifted, p)
		}
	}
	isCommon := func(p map[string]any) bool { return p["in"] != "body" && counts[keyOfParameter(p)] == len(item) }
	for _, op := range item {
		setParameters(op.(map[string]any), slices.DeleteFunc(slices.Clone(parametersIn(op)), isCommon))
	}
	setParameters(item, lifted)
}

// sharedModels begins the names of the models that bodies are shared of.
const sharedModels = "io.k8s.apimachinery"

// isShared leaves out what names a kind, and what clients before 1.27 look for in the operation itself.
func isShared(p map[string]any) bool {
	switch p["name"] {
	case "name", "fieldValidation", "dryRun":
		return false
	case "body":
		return strings.HasPrefix(p["schema"].(map[string]string)["$ref"], definitionRefs+sharedModels)
	}
	return true
}

// canonical writes a parameter in the order of fields that the names of shared ones are made from.
func canonical(p map[string]any) ([]byte, error) {
	data, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	out := &spec.Parameter{}
	if err := json.Unmarshal(data, out); err != nil {
		return nil, err
	}
	return json.Marshal(out)
}

func shortHash(text []byte) string {
	sum := fnv.New64()
	sum.Write(text) // never fails
	return base64.URLEncoding.EncodeToString(sum.Sum(nil)[:6])
}
