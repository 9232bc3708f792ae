package packed

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// schema reads a schema into out. What few schemas have, and none that is structural, is unusual.
func (r *reader) schema(out *apiextensionsv1.JSONSchemaProps) {
	if r.depth++; r.depth > deepest {
		r.fail()
	}
	for more := r.open('{', '}'); more; more = r.more('}') {
		if name := r.key(); !r.describe(name, out) && !r.limit(name, out) && !r.part(name, out) && !r.extension(name, out) {
			r.fail()
		}
	}
	r.depth--
}

// describe reads a field that tells what values are.
func (r *reader) describe(name string, out *apiextensionsv1.JSONSchemaProps) bool {
	switch name {
	case "id":
		out.ID = r.string()
	case "$schema":
		out.Schema = apiextensionsv1.JSONSchemaURL(r.string())
	case "$ref":
		out.Ref = pointer(r.string())
	case "description":
		out.Description = r.string()
	case "type":
		out.Type = r.string()
	case "format":
		out.Format = r.string()
	case "title":
		out.Title = r.string()
	case "default":
		out.Default = r.optional()
	case "example":
		out.Example = r.optional()
	case "nullable":
		out.Nullable = r.bool()
	case "externalDocs":
		out.ExternalDocs = r.documentation(out.ExternalDocs)
	default:
		return false
	}
	return true
}

// limit reads a field that bounds values.
func (r *reader) limit(name string, out *apiextensionsv1.JSONSchemaProps) bool {
	switch name {
	case "maximum":
		out.Maximum = r.number()
	case "exclusiveMaximum":
		out.ExclusiveMaximum = r.bool()
	case "minimum":
		out.Minimum = r.number()
	case "exclusiveMinimum":
		out.ExclusiveMinimum = r.bool()
	case "maxLength":
		out.MaxLength = r.integer()
	case "minLength":
		out.MinLength = r.integer()
	case "pattern":
		out.Pattern = r.string()
	case "maxItems":
		out.MaxItems = r.integer()
	case "minItems":
		out.MinItems = r.integer()
	case "uniqueItems":
		out.UniqueItems = r.bool()
	case "multipleOf":
		out.MultipleOf = r.number()
	case "maxProperties":
		out.MaxProperties = r.integer()
	case "minProperties":
		out.MinProperties = r.integer()
	case "enum":
		out.Enum = list(r, out.Enum, r.value)
	case "required":
		out.Required = list(r, out.Required, r.string)
	default:
		return false
	}
	return true
}

// part reads a field that consists of schemas.
func (r *reader) part(name string, out *apiextensionsv1.JSONSchemaProps) bool {
	switch name {
	case "items":
		out.Items = r.items()
	case "allOf":
		out.AllOf = list(r, out.AllOf, r.element)
	case "oneOf":
		out.OneOf = list(r, out.OneOf, r.element)
	case "anyOf":
		out.AnyOf = list(r, out.AnyOf, r.element)
	case "not":
		out.Not = once(r, out.Not)
		r.schema(out.Not)
	case "properties":
		out.Properties = r.schemas(out.Properties)
	case "patternProperties":
		out.PatternProperties = r.schemas(out.PatternProperties)
	case "additionalProperties":
		out.AdditionalProperties = r.orBool()
	case "additionalItems":
		out.AdditionalItems = r.orBool()
	default:
		return false
	}
	return true
}

// extension reads a field that is Kubernetes' own.
func (r *reader) extension(name string, out *apiextensionsv1.JSONSchemaProps) bool {
	switch name {
	case "x-kubernetes-preserve-unknown-fields":
		out.XPreserveUnknownFields = pointer(r.bool())
	case "x-kubernetes-embedded-resource":
		out.XEmbeddedResource = r.bool()
	case "x-kubernetes-int-or-string":
		out.XIntOrString = r.bool()
	case "x-kubernetes-list-map-keys":
		out.XListMapKeys = list(r, out.XListMapKeys, r.string)
	case "x-kubernetes-list-type":
		out.XListType = pointer(r.string())
	case "x-kubernetes-map-type":
		out.XMapType = pointer(r.string())
	case "x-kubernetes-validations":
		out.XValidations = list(r, out.XValidations, r.rule)
	default:
		return false
	}
	return true
}

func pointer[T any](v T) *T { return &v }

// once returns a place for what is read. A field that is there twice is unusual.
func once[T any](r *reader, before *T) *T {
	if before != nil {
		r.fail()
	}
	return new(T)
}

func (r *reader) element() (out apiextensionsv1.JSONSchemaProps) {
	r.schema(&out)
	return out
}

func (r *reader) schemas(before map[string]apiextensionsv1.JSONSchemaProps) map[string]apiextensionsv1.JSONSchemaProps {
	if before != nil {
		r.fail()
	}
	out := map[string]apiextensionsv1.JSONSchemaProps{}
	for more := r.open('{', '}'); more; more = r.more('}') {
		name := r.key()
		if v := r.element(); !r.checking {
			out[name] = v
		}
	}
	return out
}

func (r *reader) items() *apiextensionsv1.JSONSchemaPropsOrArray {
	out := &apiextensionsv1.JSONSchemaPropsOrArray{}
	if r.peek() == '[' {
		out.JSONSchemas = list(r, nil, r.element)
		return out
	}
	out.Schema = &apiextensionsv1.JSONSchemaProps{}
	r.schema(out.Schema)
	return out
}

func (r *reader) orBool() *apiextensionsv1.JSONSchemaPropsOrBool {
	if r.peek() != '{' {
		return &apiextensionsv1.JSONSchemaPropsOrBool{Allows: r.bool()}
	}
	out := &apiextensionsv1.JSONSchemaPropsOrBool{Allows: true, Schema: &apiextensionsv1.JSONSchemaProps{}}
	r.schema(out.Schema)
	return out
}

func (r *reader) documentation(before *apiextensionsv1.ExternalDocumentation) *apiextensionsv1.ExternalDocumentation {
	out := once(r, before)
	for more := r.open('{', '}'); more; more = r.more('}') {
		switch r.key() {
		case "description":
			out.Description = r.string()
		case "url":
			out.URL = r.string()
		default:
			r.fail()
		}
	}
	return out
}

func (r *reader) rule() (out apiextensionsv1.ValidationRule) {
	for more := r.open('{', '}'); more; more = r.more('}') {
		switch r.key() {
		case "rule":
			out.Rule = r.string()
		case "message":
			out.Message = r.string()
		case "messageExpression":
			out.MessageExpression = r.string()
		case "reason":
			out.Reason = pointer(apiextensionsv1.FieldValueErrorReason(r.string()))
		case "fieldPath":
			out.FieldPath = r.string()
		case "optionalOldSelf":
			out.OptionalOldSelf = pointer(r.bool())
		default:
			r.fail()
		}
	}
	return out
}
