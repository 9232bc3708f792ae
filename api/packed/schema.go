package packed

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// schema reads a schema into out. What few schemas have, and none that is structural, is unusual.
func (r *reader) schema(out *apiextensionsv1.JSONSchemaProps) {
	if r.depth++; r.depth > deepest {
		r.Fail()
	}
	for more := r.Open('{', '}'); more; more = r.More('}') {
		if name := r.Key(); !r.describe(name, out) && !r.limit(name, out) && !r.part(name, out) && !r.extension(name, out) {
			r.Fail()
		}
	}
	r.depth--
}

// describe reads a field that tells what values are.
func (r *reader) describe(name string, out *apiextensionsv1.JSONSchemaProps) bool {
	switch name {
	case "id":
		out.ID = r.Text()
	case "$schema":
		out.Schema = apiextensionsv1.JSONSchemaURL(r.Text())
	case "$ref":
		out.Ref = pointer(r.Text())
	case "description":
		out.Description = r.Text()
	case "type":
		out.Type = r.Text()
	case "format":
		out.Format = r.Text()
	case "title":
		out.Title = r.Text()
	case "default":
		out.Default = r.optional()
	case "example":
		out.Example = r.optional()
	case "nullable":
		out.Nullable = r.Bool()
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
		out.Maximum = r.Number()
	case "exclusiveMaximum":
		out.ExclusiveMaximum = r.Bool()
	case "minimum":
		out.Minimum = r.Number()
	case "exclusiveMinimum":
		out.ExclusiveMinimum = r.Bool()
	case "maxLength":
		out.MaxLength = r.Integer()
	case "minLength":
		out.MinLength = r.Integer()
	case "pattern":
		out.Pattern = r.Text()
	case "maxItems":
		out.MaxItems = r.Integer()
	case "minItems":
		out.MinItems = r.Integer()
	case "uniqueItems":
		out.UniqueItems = r.Bool()
	case "multipleOf":
		out.MultipleOf = r.Number()
	case "maxProperties":
		out.MaxProperties = r.Integer()
	case "minProperties":
		out.MinProperties = r.Integer()
	case "enum":
		out.Enum = list(r, out.Enum, r.value)
	case "required":
		out.Required = list(r, out.Required, r.Text)
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
		out.XPreserveUnknownFields = pointer(r.Bool())
	case "x-kubernetes-embedded-resource":
		out.XEmbeddedResource = r.Bool()
	case "x-kubernetes-int-or-string":
		out.XIntOrString = r.Bool()
	case "x-kubernetes-list-map-keys":
		out.XListMapKeys = list(r, out.XListMapKeys, r.Text)
	case "x-kubernetes-list-type":
		out.XListType = pointer(r.Text())
	case "x-kubernetes-map-type":
		out.XMapType = pointer(r.Text())
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
		r.Fail()
	}
	return new(T)
}

func (r *reader) element() (out apiextensionsv1.JSONSchemaProps) {
	r.schema(&out)
	return out
}

func (r *reader) schemas(before map[string]apiextensionsv1.JSONSchemaProps) map[string]apiextensionsv1.JSONSchemaProps {
	if before != nil {
		r.Fail()
	}
	out := map[string]apiextensionsv1.JSONSchemaProps{}
	for more := r.Open('{', '}'); more; more = r.More('}') {
		name := r.Key()
		if v := r.element(); !r.Checking {
			out[name] = v
		}
	}
	return out
}

func (r *reader) items() *apiextensionsv1.JSONSchemaPropsOrArray {
	out := &apiextensionsv1.JSONSchemaPropsOrArray{}
	if r.Peek() == '[' {
		out.JSONSchemas = list(r, nil, r.element)
		return out
	}
	out.Schema = &apiextensionsv1.JSONSchemaProps{}
	r.schema(out.Schema)
	return out
}

func (r *reader) orBool() *apiextensionsv1.JSONSchemaPropsOrBool {
	if r.Peek() != '{' {
		return &apiextensionsv1.JSONSchemaPropsOrBool{Allows: r.Bool()}
	}
	out := &apiextensionsv1.JSONSchemaPropsOrBool{Allows: true, Schema: &apiextensionsv1.JSONSchemaProps{}}
	r.schema(out.Schema)
	return out
}

func (r *reader) documentation(before *apiextensionsv1.ExternalDocumentation) *apiextensionsv1.ExternalDocumentation {
	out := once(r, before)
	for more := r.Open('{', '}'); more; more = r.More('}') {
		switch r.Key() {
		case "description":
			out.Description = r.Text()
		case "url":
			out.URL = r.Text()
		default:
			r.Fail()
		}
	}
	return out
}

func (r *reader) rule() (out apiextensionsv1.ValidationRule) {
	for more := r.Open('{', '}'); more; more = r.More('}') {
		switch r.Key() {
		case "rule":
			out.Rule = r.Text()
		case "message":
			out.Message = r.Text()
		case "messageExpression":
			out.MessageExpression = r.Text()
		case "reason":
			out.Reason = pointer(apiextensionsv1.FieldValueErrorReason(r.Text()))
		case "fieldPath":
			out.FieldPath = r.Text()
		case "optionalOldSelf":
			out.OptionalOldSelf = pointer(r.Bool())
		default:
			r.Fail()
		}
	}
	return out
}
