package customresource

import apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

// eachSchema calls fn for every schema in d's, at all depths. What fn is given may be a copy, of the struct alone. Schemas
// that are packed are none.
func eachSchema(d *apiextensionsv1.CustomResourceDefinition, fn func(*apiextensionsv1.JSONSchemaProps)) {
	for i := range d.Spec.Versions {
		if s := d.Spec.Versions[i].Schema; s != nil {
			walk(s.OpenAPIV3Schema, fn)
		}
	}
}

func walk(s *apiextensionsv1.JSONSchemaProps, fn func(*apiextensionsv1.JSONSchemaProps)) {
	if s == nil {
		return
	}
	fn(s)
	for _, b := range []*apiextensionsv1.JSONSchemaPropsOrBool{s.AdditionalProperties, s.AdditionalItems} {
		if b != nil {
			walk(b.Schema, fn)
		}
	}
	for _, m := range []map[string]apiextensionsv1.JSONSchemaProps{s.Properties, s.PatternProperties, s.Definitions} {
		for _, p := range m {
			walk(&p, fn)
		}
	}
	for _, d := range s.Dependencies {
		walk(d.Schema, fn)
	}
	for _, l := range [][]apiextensionsv1.JSONSchemaProps{s.AllOf, s.AnyOf, s.OneOf} {
		for i := range l {
			walk(&l[i], fn)
		}
	}
	walk(s.Not, fn)
	if s.Items != nil {
		walk(s.Items.Schema, fn)
		for i := range s.Items.JSONSchemas {
			walk(&s.Items.JSONSchemas[i], fn)
		}
	}
}
