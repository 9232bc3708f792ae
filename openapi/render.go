package openapi

import (
	"cmp"
	"slices"
	"strings"
)

// Request and response media types, in upstream's order.
var (
	bodyTypes   = []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}
	patchTypes  = []string{"application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml"}
	streamTypes = []string{"application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"}

	customTypes      = []string{"application/json", "application/yaml"}
	customPatchTypes = []string{"application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"}
)

// tagOf names a group version as clients that are generated from the documents do: apps_v1.
func tagOf(group, version string) string {
	lower := camel(strings.TrimSuffix(cmp.Or(group, "core"), ".k8s.io"))
	return strings.ToLower(lower[:1]) + lower[1:] + "_" + version
}

func (o operation) common() map[string]any {
	out := map[string]any{"operationId": o.id, "tags": []string{o.tag}}
	if o.about != "" {
		out["description"] = o.about
	}
	if o.action != "" {
		out["x-kubernetes-action"], out["x-kubernetes-group-version-kind"] = o.action, o.gvk
	}
	return out
}

// produces are the media types that the operation answers with.
func (o operation) produces() []string {
	switch {
	case o.produce != nil:
		return o.produce
	case o.media != nil:
		return o.media
	case o.gvk.Kind == "Pod" && strings.HasSuffix(o.path, "/log"):
		return slices.Concat([]string{"text/plain"}, bodyTypes)
	case o.response == "":
		return []string{"*/*"}
	case o.custom:
		return customTypes
	case o.action == "list" || o.action == "watch" || o.action == "watchlist":
		return slices.Concat(bodyTypes, streamTypes)
	}
	return bodyTypes
}

// consumes are the media types of what the operation is given.
func (o operation) consumes() []string {
	switch {
	case o.action == "":
		return o.media
	case o.action == "patch" && o.custom:
		return customPatchTypes
	case o.action == "patch":
		return patchTypes
	case o.custom:
		return customTypes
	}
	return []string{"*/*"}
}

// text is the schema of what has none.
var text = map[string]string{"type": "string"}

// statuses are the success codes of an operation.
func (o operation) statuses() map[string]string {
	if o.action == "connect" || o.action == "" {
		return map[string]string{"200": "OK"}
	}
	switch o.method {
	case "post":
		return map[string]string{"200": "OK", "201": "Created", "202": "Accepted"}
	case "put", "patch":
		if o.method == "put" || !o.custom {
			return map[string]string{"200": "OK", "201": "Created"}
		}
	case "delete":
		if o.action == "delete" {
			return map[string]string{"200": "OK", "202": "Accepted"}
		}
	}
	return map[string]string{"200": "OK"}
}

func (o operation) v3() map[string]any {
	op := o.common()
	setParameters(op, o.parameters(func(p map[string]any, kind string) {
		delete(p, "uniqueItems")
		p["schema"] = map[string]any{"type": kind, "uniqueItems": true}
	}))
	ref := func(model string, media []string) map[string]any {
		content := map[string]any{}
		for _, m := range media {
			content[m] = map[string]any{"schema": map[string]string{"$ref": "#/components/schemas/" + model}}
		}
		return content
	}
	if o.body != "" {
		body := map[string]any{"content": ref(o.body, o.consumes())}
		if o.method != "delete" {
			body["required"] = true
		}
		op["requestBody"] = body
	}
	responses := map[string]any{"401": map[string]any{"description": "Unauthorized"}}
	for code, about := range o.statuses() {
		response := map[string]any{"description": about}
		content := map[string]any{}
		for _, m := range o.produces() {
			content[m] = map[string]any{"schema": text}
		}
		if o.response != "" {
			content = ref(o.response, o.produces())
		}
		response["content"] = content
		responses[code] = response
	}
	op["responses"] = responses
	return op
}

func (o operation) v2() map[string]any {
	op := o.common()
	parameters := o.parameters(func(p map[string]any, kind string) { p["type"] = kind })
	if o.body != "" {
		body := map[string]any{"name": "body", "in": "body", "schema": map[string]string{"$ref": "#/definitions/" + o.body}}
		if o.method != "delete" {
			body["required"] = true
		}
		parameters = append(parameters, body)
	}
	setParameters(op, parameters)
	if types := o.consumes(); types != nil {
		op["consumes"] = types
	}
	op["produces"] = o.produces()
	op["schemes"] = []string{"https"}
	responses := map[string]any{"401": map[string]any{"description": "Unauthorized"}}
	for code, about := range o.statuses() {
		response := map[string]any{"description": about, "schema": text}
		if o.response != "" {
			response["schema"] = map[string]string{"$ref": "#/definitions/" + o.response}
		}
		responses[code] = response
	}
	op["responses"] = responses
	return op
}
