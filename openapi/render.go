package openapi

import "strings"

// booleans and integers name the query parameters that are no strings.
var (
	booleans = map[string]bool{"allowWatchBookmarks": true, "force": true, "ignoreStoreReadErrorWithClusterBreakingPotential": true, "orphanDependents": true, "sendInitialEvents": true, "watch": true,
		"follow": true, "insecureSkipTLSVerifyBackend": true, "previous": true, "stderr": true, "stdin": true, "stdout": true, "timestamps": true, "tty": true}
	integers = map[string]bool{"gracePeriodSeconds": true, "limit": true, "limitBytes": true, "ports": true, "sinceSeconds": true, "tailLines": true, "timeoutSeconds": true}
)

// Request and response media types, in upstream's order.
var (
	bodyTypes   = []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}
	patchTypes  = []string{"application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"}
	streamTypes = []string{"application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"}
)

func (o operation) common() map[string]any {
	tag := o.group
	if tag == "" {
		tag = "core"
	}
	tag = strings.TrimSuffix(tag, ".k8s.io")
	lower := camel(tag) + "_" + o.version
	return map[string]any{
		"operationId":                     o.id,
		"tags":                            []string{strings.ToLower(lower[:1]) + lower[1:]},
		"x-kubernetes-action":             o.action,
		"x-kubernetes-group-version-kind": o.gvk(),
	}
}

func (o operation) responseTypes() []string {
	if o.response == "" {
		return []string{"*/*"}
	}
	if o.action == "list" {
		return append(bodyTypes[:len(bodyTypes):len(bodyTypes)], streamTypes...)
	}
	return bodyTypes
}

func (o operation) requestTypes() []string {
	if o.action == "patch" {
		return patchTypes
	}
	return []string{"*/*"}
}

func parameterType(name string) string {
	switch {
	case booleans[name]:
		return "boolean"
	case integers[name]:
		return "integer"
	}
	return "string"
}

// parameters lists path and query parameters; wrap renders a type in the form of a version.
func (o operation) parameters(wrap func(p map[string]any, typ string)) []map[string]any {
	var out []map[string]any
	add := func(name, in string, required bool) {
		p := map[string]any{"name": name, "in": in, "uniqueItems": true}
		if required {
			p["required"] = true
		}
		wrap(p, parameterType(name))
		out = append(out, p)
	}
	if o.named {
		add("name", "path", true)
	}
	if o.namespaced {
		add("namespace", "path", true)
	}
	if o.onward {
		add("path", "path", true)
	}
	for _, q := range o.query {
		add(q, "query", false)
	}
	if o.action != "connect" {
		add("pretty", "query", false)
	}
	return out
}

// text is the schema of what has none.
var text = map[string]string{"type": "string"}

// statuses are the success codes of an operation.
func (o operation) statuses() map[string]string {
	if o.action == "connect" {
		return map[string]string{"200": "OK"}
	}
	switch o.method {
	case "post":
		return map[string]string{"200": "OK", "201": "Created", "202": "Accepted"}
	case "put", "patch":
		return map[string]string{"200": "OK", "201": "Created"}
	case "delete":
		if o.action == "delete" {
			return map[string]string{"200": "OK", "202": "Accepted"}
		}
	}
	return map[string]string{"200": "OK"}
}

func (o operation) v3() map[string]any {
	op := o.common()
	op["parameters"] = o.parameters(func(p map[string]any, typ string) {
		delete(p, "uniqueItems")
		p["schema"] = map[string]any{"type": typ, "uniqueItems": true}
	})
	ref := func(model string, media []string) map[string]any {
		content := map[string]any{}
		for _, m := range media {
			content[m] = map[string]any{"schema": map[string]string{"$ref": "#/components/schemas/" + model}}
		}
		return content
	}
	if o.body != "" {
		op["requestBody"] = map[string]any{"content": ref(o.body, o.requestTypes()), "required": o.method != "delete"}
	}
	responses := map[string]any{"401": map[string]any{"description": "Unauthorized"}}
	for code, about := range o.statuses() {
		response := map[string]any{"description": about}
		response["content"] = map[string]any{"*/*": map[string]any{"schema": text}}
		if o.response != "" {
			response["content"] = ref(o.response, o.responseTypes())
		}
		responses[code] = response
	}
	op["responses"] = responses
	return op
}

func (o operation) v2() map[string]any {
	op := o.common()
	parameters := o.parameters(func(p map[string]any, typ string) { p["type"] = typ })
	if o.body != "" {
		parameters = append(parameters, map[string]any{
			"name": "body", "in": "body", "required": o.method != "delete",
			"schema": map[string]string{"$ref": "#/definitions/" + o.body},
		})
		op["consumes"] = o.requestTypes()
	}
	op["parameters"] = parameters
	op["produces"] = o.responseTypes()
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
