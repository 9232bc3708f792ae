package customresource

import (
	"encoding/json"
	"math/rand"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/randfill/bytesource"

	"clipper/api"
	"clipper/catalogue"
)

// patience is what one schema with its objects may take on a busy machine: compiling, above all.
const patience = 20 * time.Second

// FuzzSchema makes definitions of any schema, rules and defaults included. Whatever they are, looking at them does
// not panic. Those that are accepted can be served, and hold for objects of any content: pruning and defaulting are
// final, and what was accepted can be written again.
func FuzzSchema(f *testing.F) {
	for seed := range 40 {
		f.Add([]byte{byte(seed), 1, 2, 3, 4, 5, 6, 7})
	}
	f.Fuzz(func(t *testing.T, choices []byte) {
		began := time.Now()
		g := chooser{rand.New(bytesource.New(choices))}
		d := g.definition()
		if accepted(t, d) {
			serve(t, g, d)
		}
		if took := time.Since(began); took > patience {
			t.Errorf("took %v: %s", took, shown(d))
		}
	})
}

// accepted says whether a definition is valid.
func accepted(t *testing.T, d *apiextensionsv1.CustomResourceDefinition) bool {
	r := Definition()
	r.Default(d)
	again := d.DeepCopy()
	r.Default(again)
	if !equality.Semantic.DeepEqual(d, again) {
		t.Errorf("defaulted twice it is another: %s", shown(d))
	}
	r.PrepareCreate(d)
	before := d.DeepCopy()
	faults := r.ValidateCreate(d)
	r.Warnings(d, nil)
	if !equality.Semantic.DeepEqual(d, before) {
		t.Errorf("validation changed it: %s", shown(d))
	}
	if len(faults) > 0 {
		return false
	}
	d.ResourceVersion = "1"
	again = d.DeepCopy()
	r.PrepareUpdate(again, d)
	if faults := r.ValidateUpdate(again, d); len(faults) > 0 {
		t.Errorf("accepted, and cannot be written again: %v\n%s", faults.ToAggregate(), shown(d))
	}
	return true
}

// serve has objects of an accepted definition.
func serve(t *testing.T, g chooser, d *apiextensionsv1.CustomResourceDefinition) {
	d.Status.AcceptedNames = d.Spec.Names
	r, err := describe(t.Context(), d, newConverters(nil, nil), newWarmth())
	if err != nil {
		t.Fatalf("accepted, and cannot be served: %v\n%s", err, shown(d))
	}
	root := d.Spec.Versions[0].Schema.OpenAPIV3Schema
	_, err = r.Custom.Schema(catalogue.OpenAPI3)
	if err != nil && root.Type == "object" { // of others upstream accepts some, too, and cannot serve them
		t.Errorf("accepted, and cannot be published: %v\n%s", err, shown(d))
	}
	for range 4 {
		content, _ := g.instance(root, 0).(map[string]any)
		if content == nil {
			content = map[string]any{}
		}
		content["apiVersion"], content["kind"] = r.GVK().GroupVersion().String(), r.Kind
		if g.chance(90) {
			content["metadata"] = map[string]any{"name": "a"}
		}
		live(t, r, &unstructured.Unstructured{Object: content}, d)
	}
}

// live is the life of one object, from the wire to a table.
func live(t *testing.T, r *catalogue.Resource, o api.Object, d *apiextensionsv1.CustomResourceDefinition) {
	if _, err := r.Custom.Prune(o); err != nil {
		return
	}
	final(t, "pruning", o, func(o api.Object) { _, _ = r.Custom.Prune(o) })
	r.Default(o)
	final(t, "defaulting", o, r.Default)
	final(t, "pruning what was defaulted", o, func(o api.Object) { _, _ = r.Custom.Prune(o) })
	r.PrepareCreate(o)
	faults := r.ValidateCreate(o)
	_ = faults.ToAggregate()
	if _, err := r.Types.ObjectToTyped(o); err != nil && len(faults) == 0 {
		t.Errorf("accepted, and cannot be applied: %v\n%s\n%s", err, shown(o), shown(d))
	}
	r.Row(o, time.Now())
	for _, get := range r.Fields {
		get(o)
	}
	if r.Scale != nil {
		r.Scale.Replicas(o)
		r.Scale.Selector(o)
	}
	read, err := r.Custom.Read([]api.Object{o})
	if err != nil || len(faults) > 0 {
		return
	}
	r.Default(o) // a status that was dropped may have one
	if !equality.Semantic.DeepEqual(read[0], o) {
		t.Errorf("stored, it is read as another:\n%s\n%s\n%s", shown(o), shown(read[0]), shown(d))
	}
	next := o.DeepCopyObject().(api.Object)
	r.PrepareUpdate(next, o)
	r.ValidateUpdate(next, o) // rules over oldSelf may refuse even that
}

func final(t *testing.T, what string, o api.Object, do func(api.Object)) {
	again := o.DeepCopyObject().(api.Object)
	do(again)
	if !equality.Semantic.DeepEqual(o, again) {
		t.Errorf("%s is not final:\n%s\n%s", what, shown(o), shown(again))
	}
}

func shown(o any) string {
	data, err := json.Marshal(o)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// A chooser makes schemas and objects.
type chooser struct{ *rand.Rand }

func (g chooser) chance(percent int) bool { return g.Intn(100) < percent }

func one[T any](g chooser, list ...T) T { return list[g.Intn(len(list))] }

func (g chooser) definition() *apiextensionsv1.CustomResourceDefinition {
	root := g.schema(0)
	if g.chance(90) {
		root.Type, root.Nullable, root.XEmbeddedResource, root.XIntOrString = "object", false, false, false
		root.Items, root.Default, root.Format = nil, nil, ""
	}
	return widgets(func(d *apiextensionsv1.CustomResourceDefinition) {
		v := &d.Spec.Versions[0]
		v.Schema.OpenAPIV3Schema = &root
		d.Spec.Scope = apiextensionsv1.NamespaceScoped
		d.Spec.PreserveUnknownFields = g.chance(3)
		if g.chance(30) {
			v.Subresources = &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}}
			if g.chance(50) {
				v.Subresources.Scale = &apiextensionsv1.CustomResourceSubresourceScale{SpecReplicasPath: g.path(), StatusReplicasPath: g.path(), LabelSelectorPath: ptr.To(g.path())}
			}
		}
		for range g.Intn(3) {
			v.AdditionalPrinterColumns = append(v.AdditionalPrinterColumns, apiextensionsv1.CustomResourceColumnDefinition{
				Name: "c", Type: one(g, "string", "integer", "number", "boolean", "date", "x"), JSONPath: g.path()})
		}
		if g.chance(30) {
			v.SelectableFields = []apiextensionsv1.SelectableField{{JSONPath: g.path()}}
		}
	})
}

var keys = []string{"a", "b", "spec", "status", "metadata", "x-y", "in", "if", "self", "namespace", "__x", "", "a.b", "é", "kind", "items"}

func (g chooser) path() string {
	return one(g, ".", ".spec", ".status", "") + "." + one(g, keys...) + one(g, "", "", "[0]", "[*]", "['a']", "{", ".")
}

func (g chooser) schema(depth int) apiextensionsv1.JSONSchemaProps {
	s := apiextensionsv1.JSONSchemaProps{Type: one(g, "object", "object", "array", "string", "integer", "number", "boolean", "")}
	if depth > 4 {
		return s
	}
	switch s.Type {
	case "object":
		g.object(&s, depth)
	case "array":
		g.list(&s, depth)
	case "string":
		s.Format = one(g, "", "", "byte", "date-time", "duration", "date", "uuid", "ipv4", "cidr", "int-or-string", "x")
		s.Pattern = one(g, "", "", "", "^a*$", "(", "[a-z]{1000}", "(a|b)+?")
		s.MaxLength = g.limit()
		s.MinLength = g.limit()
	case "integer", "number":
		s.Format = one(g, "", "int32", "int64", "float", "double")
		if g.chance(20) {
			s.Maximum, s.ExclusiveMaximum = ptr.To(one(g, -1, 0, 5, 1e300)), g.chance(30)
			s.MultipleOf = ptr.To(one(g, 1, 0, 0.1, -3))
		}
	case "":
		s.XIntOrString = g.chance(60)
		s.XPreserveUnknownFields = g.open(50)
	}
	g.extras(&s, depth)
	return s
}

func (g chooser) object(s *apiextensionsv1.JSONSchemaProps, depth int) {
	for range g.Intn(4) {
		if s.Properties == nil {
			s.Properties = map[string]apiextensionsv1.JSONSchemaProps{}
		}
		s.Properties[one(g, keys...)] = g.schema(depth + 1)
	}
	if g.chance(20) {
		s.AdditionalProperties = &apiextensionsv1.JSONSchemaPropsOrBool{Allows: g.chance(80)}
		if g.chance(80) {
			s.AdditionalProperties.Schema = ptr.To(g.schema(depth + 1))
		}
		if g.chance(80) {
			s.Properties = nil
		}
	}
	if g.chance(20) {
		s.Required = []string{one(g, keys...)}
	}
	s.XMapType = g.maybe("atomic", "granular", "x")
	s.XEmbeddedResource = g.chance(10)
	s.XPreserveUnknownFields = g.open(15)
	s.MaxProperties = g.limit()
}

func (g chooser) list(s *apiextensionsv1.JSONSchemaProps, depth int) {
	if g.chance(95) {
		s.Items = &apiextensionsv1.JSONSchemaPropsOrArray{Schema: ptr.To(g.schema(depth + 1))}
	}
	s.MaxItems = g.limit()
	s.XListType = g.maybe("atomic", "set", "map", "x")
	if s.XListType != nil && *s.XListType == "map" {
		key := one(g, keys...)
		s.XListMapKeys = []string{key}
		if s.Items != nil && g.chance(80) {
			item := apiextensionsv1.JSONSchemaProps{Type: "object", Required: []string{key}}
			item.Properties = map[string]apiextensionsv1.JSONSchemaProps{key: {Type: one(g, "string", "integer", "object")}, "a": g.schema(depth + 1)}
			s.Items.Schema = &item
		}
	}
	s.UniqueItems = g.chance(2)
}

// extras are what any schema may have.
func (g chooser) extras(s *apiextensionsv1.JSONSchemaProps, depth int) {
	s.Nullable = g.chance(15)
	if g.chance(25) {
		s.Default = g.json(g.instance(s, depth))
	}
	for range g.Intn(8) / 5 {
		s.Enum = append(s.Enum, *g.json(g.instance(s, depth)))
	}
	if g.chance(25) {
		s.XValidations = apiextensionsv1.ValidationRules{g.rule()}
	}
	if g.chance(10) {
		var bare apiextensionsv1.JSONSchemaProps
		if g.chance(50) {
			bare = g.schema(depth + 2)
		}
		bare.Properties = map[string]apiextensionsv1.JSONSchemaProps{one(g, keys...): {MinLength: ptr.To(int64(1))}}
		switch g.Intn(4) {
		case 0:
			s.AllOf = append(s.AllOf, bare)
		case 1:
			s.AnyOf = append(s.AnyOf, bare, apiextensionsv1.JSONSchemaProps{Required: []string{"a"}})
		case 2:
			s.OneOf = append(s.OneOf, bare)
		case 3:
			s.Not = &bare
		}
	}
	s.Title = one(g, "", "t", "\x00")
}

// terms and wholes are what rules are made of.
var (
	terms = []string{
		"self", "self.a", "self.b", "oldSelf", "oldSelf.a", "self.spec.a", "self['a']", "self[0]", "has(self.a)", "self.?a", "self.__in__", "self.x__dash__y",
		"self.metadata.name", "1", "'a'", "[1,2]", "{'a': 1}", "null", "self.size()", "size(self)", "self.all(x, x == x)", "self.exists(x, x.a == 1)",
		"self.map(x, self.map(y, self.map(z, z)))", "self.matches('^(a+)+$')", "quantity(self)", "url(self)", "ip(self)", "self.find('a')", "duration(self)",
		"timestamp(self)", "self.isSorted()", "self.kind", "dyn(self)", "type(self)", "optional.none()", "cidr(self).containsIP('1.1.1.1')", "format.dns1123Label()",
	}
	operators = []string{"==", "!=", "<", "+", "in", "&&", "||", "*", "/"}
)

func (g chooser) rule() apiextensionsv1.ValidationRule {
	r := apiextensionsv1.ValidationRule{Rule: g.expression(3)}
	if g.chance(20) {
		r.MessageExpression = g.expression(2)
	}
	if g.chance(20) {
		r.FieldPath = one(g, ".a", ".spec", "['a']", ".", "[0]", ".a.b", "x")
	}
	if g.chance(20) {
		r.OptionalOldSelf = ptr.To(g.chance(50))
	}
	if g.chance(20) {
		r.Reason = ptr.To(one(g, apiextensionsv1.FieldValueInvalid, apiextensionsv1.FieldValueRequired, "x"))
	}
	r.Message = one(g, "", "m", "a\nb")
	return r
}

func (g chooser) expression(depth int) string {
	if depth == 0 || g.chance(40) {
		return one(g, terms...)
	}
	switch g.Intn(5) {
	case 0:
		return "!(" + g.expression(depth-1) + ")"
	case 1:
		return "(" + g.expression(depth-1) + ") ? (" + g.expression(depth-1) + ") : " + g.expression(depth-1)
	case 2:
		return one(g, terms...) + one(g, ".size() == 1", ".exists(x, "+g.expression(depth-1)+")", ".orValue(1) == 1", " == self", "(", ".a.b.c == 'x'")
	}
	return g.expression(depth-1) + " " + one(g, operators...) + " " + g.expression(depth-1)
}

func (g chooser) limit() *int64 {
	if g.chance(60) {
		return nil
	}
	return ptr.To(one[int64](g, 0, 1, 3, 10, 1000, -1, 1<<40))
}

func (g chooser) maybe(values ...string) *string {
	if g.chance(70) {
		return nil
	}
	return ptr.To(one(g, values...))
}

func (g chooser) open(percent int) *bool {
	if !g.chance(percent) {
		return nil
	}
	return ptr.To(g.chance(97))
}

func (g chooser) json(v any) *apiextensionsv1.JSON {
	return &apiextensionsv1.JSON{Raw: []byte(shown(v))}
}

// instance is a value that mostly fits a schema.
func (g chooser) instance(s *apiextensionsv1.JSONSchemaProps, depth int) any {
	kind := s.Type
	if g.chance(8) || depth > 6 {
		kind = one(g, "string", "integer", "boolean", "null", "")
	}
	switch kind {
	case "object":
		return g.content(s, depth)
	case "array":
		list := []any{}
		for range g.Intn(3) {
			item := &apiextensionsv1.JSONSchemaProps{}
			if s.Items != nil && s.Items.Schema != nil {
				item = s.Items.Schema
			}
			list = append(list, g.instance(item, depth+1))
		}
		return list
	case "string":
		return one(g, "", "a", "aaa", "aGk=", "2026-01-01T00:00:00Z", "1h", "10.0.0.1", "10.0.0.0/8", "\x00", "1Gi", "http://x")
	case "integer":
		return one[int64](g, 0, 1, -1, 5, 1<<53+1, -1<<63)
	case "number":
		return one(g, 0.0, 1.5, -1, 1e300)
	case "boolean":
		return g.chance(50)
	case "null":
		return nil
	}
	return one[any](g, int64(1), "a", map[string]any{"a": "b"}, []any{"x"}, nil, true)
}

func (g chooser) content(s *apiextensionsv1.JSONSchemaProps, depth int) map[string]any {
	out := map[string]any{}
	if s.XEmbeddedResource {
		out["apiVersion"], out["kind"], out["metadata"] = "v1", "ConfigMap", map[string]any{"name": one(g, "a", "-"), "labels": map[string]any{"a": one[any](g, "b", int64(1))}}
	}
	for _, name := range keys {
		p, ok := s.Properties[name]
		switch {
		case ok && g.chance(70):
			out[name] = g.instance(&p, depth+1)
		case !ok && s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil && g.chance(15):
			out[name] = g.instance(s.AdditionalProperties.Schema, depth+1)
		case !ok && g.chance(3):
			out[name] = g.instance(&apiextensionsv1.JSONSchemaProps{}, depth+1)
		}
	}
	return out
}
