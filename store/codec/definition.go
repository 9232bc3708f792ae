package codec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"

	kjson "sigs.k8s.io/json"

	"clipper/api/packed"
)

// definitionHead begins a stored definition: upstream's server writes them in v1beta1, though it serves that no more,
// for it says once what all versions have in common.
var definitionHead = []byte(`{"kind":"CustomResourceDefinition","apiVersion":"` + apiextensionsv1beta1.SchemeGroupVersion.String() + `",`)

// encodeDefinition writes d as upstream's server does. Its schemas, which are nearly all of it, stay out of the way until
// the end: they are text already.
func encodeDefinition(d *apiextensionsv1.CustomResourceDefinition) ([]byte, error) {
	cut, texts, err := withoutSchemas(d)
	if err != nil {
		return nil, err
	}
	hub, out := &apiextensions.CustomResourceDefinition{}, &apiextensionsv1beta1.CustomResourceDefinition{}
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(cut, hub, nil); err != nil {
		return nil, err
	}
	if err := apiextensionsv1beta1.Convert_apiextensions_CustomResourceDefinition_To_v1beta1_CustomResourceDefinition(hub, out, nil); err != nil {
		return nil, err
	}
	out.SetGroupVersionKind(apiextensionsv1beta1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	data, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	return insertSchemas(data, texts)
}

// A definition without its schemas has others, which name their texts by number. Nothing else in it is JSON of its
// writer's, so that what they look like occurs nowhere else: in texts, quotes are escaped, and the paths in managed
// fields are no such pairs.
const (
	beforeNumber = `{"id":"schema `
	afterNumber  = `"}`
)

// withoutSchemas returns a copy of d without its schemas, and the JSON texts of these. The same schema has one text, since
// what is the same is written once.
func withoutSchemas(d *apiextensionsv1.CustomResourceDefinition) (cut *apiextensionsv1.CustomResourceDefinition, texts [][]byte, err error) {
	c := *d
	c.Spec.Versions = append([]apiextensionsv1.CustomResourceDefinitionVersion(nil), d.Spec.Versions...)
	for i := range c.Spec.Versions {
		v := &c.Spec.Versions[i]
		if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
			continue
		}
		text, err := packed.Text(v.Schema.OpenAPIV3Schema)
		if err != nil {
			return nil, nil, fmt.Errorf("schema of version %s: %w", v.Name, err)
		}
		n := 0
		for n < len(texts) && !bytes.Equal(texts[n], text) {
			n++
		}
		if n == len(texts) {
			texts = append(texts, text)
		}
		v.Schema = &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{ID: "schema " + strconv.Itoa(n)}}
	}
	return &c, texts, nil
}

// insertSchemas puts the texts where data names them.
func insertSchemas(data []byte, texts [][]byte) ([]byte, error) {
	size := len(data)
	for _, t := range texts {
		size += len(t)
	}
	out := make([]byte, 0, size)
	for {
		before, rest, found := bytes.Cut(data, []byte(beforeNumber))
		out = append(out, before...)
		if !found {
			return out, nil
		}
		number, rest, _ := bytes.Cut(rest, []byte(afterNumber))
		n, err := strconv.Atoi(string(number))
		if err != nil || n < 0 || n >= len(texts) {
			return nil, fmt.Errorf("there is no schema %q", number)
		}
		out, data = append(out, texts[n]...), rest
	}
}

// decodeDefinition reads what encodeDefinition, or upstream's server, wrote. ok is false for anything else.
func decodeDefinition(data []byte) (obj *apiextensionsv1beta1.CustomResourceDefinition, ok bool) {
	if !bytes.HasPrefix(data, definitionHead) {
		return nil, false
	}
	obj = &apiextensionsv1beta1.CustomResourceDefinition{}
	return obj, kjson.UnmarshalCaseSensitivePreserveInts(data, obj) == nil
}

// currentDefinition brings what is stored to the version that is served.
func currentDefinition(old *apiextensionsv1beta1.CustomResourceDefinition) (*apiextensionsv1.CustomResourceDefinition, error) {
	apiextensionsv1beta1.SetObjectDefaults_CustomResourceDefinition(old)
	hub, out := &apiextensions.CustomResourceDefinition{}, &apiextensionsv1.CustomResourceDefinition{}
	if err := apiextensionsv1beta1.Convert_v1beta1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(old, hub, nil); err != nil {
		return nil, err
	}
	return out, apiextensionsv1.Convert_apiextensions_CustomResourceDefinition_To_v1_CustomResourceDefinition(hub, out, nil)
}
