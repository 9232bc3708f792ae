package openapi

import (
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/google/gnostic-models/compiler"
	openapiv2 "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// forms are those of all messages that a document of version 2 has, made of the library's own descriptions.
type forms struct {
	schema, path, operation, response, reference *form
	body, inQuery, inPath                        *form // parameters

	texts sync.Map // values in YAML by their JSON text: the same few are in a document thousands of times
}

func newForms() *forms {
	return &forms{
		schema:    newForm(&openapiv2.Schema{}),
		path:      newForm(&openapiv2.PathItem{}),
		operation: newForm(&openapiv2.Operation{}, "responses"),
		response:  newForm(&openapiv2.Response{}, "description"),
		reference: newForm(&openapiv2.JsonReference{}, "$ref"),
		body:      newForm(&openapiv2.BodyParameter{}, "in", "name", "schema"),
		inQuery:   newForm(&openapiv2.QueryParameterSubSchema{}, "in", "name", "type"),
		inPath:    newForm(&openapiv2.PathParameterSubSchema{}, "in", "name", "required", "type"),
	}
}

// yaml returns a value as the library writes it.
func (f *forms) yaml(raw []byte) (text string, ok bool) {
	if text, ok := f.texts.Load(string(raw)); ok {
		return text.(string), true
	}
	root, _, err := parse(raw)
	if err != nil {
		return "", false
	}
	text = string(compiler.Marshal(root))
	f.texts.Store(string(raw), text)
	return text, true
}

// A form says how the fields of a message are written in JSON.
type form struct {
	fields     map[string]field
	extensions protowire.Number // what fields with names such as x-a are: of these there are many
	required   []protowire.Number
}

// A field is what a name stands for.
type field struct {
	number protowire.Number
	write  func(t *transcoder, n protowire.Number) // reads the value
}

// newForm returns that of a message which must have the required fields.
func newForm(m proto.Message, required ...string) *form {
	f := &form{fields: map[string]field{}}
	all := m.ProtoReflect().Descriptor().Fields()
	for i := range all.Len() {
		d := all.Get(i)
		switch name := d.JSONName(); d.Name() {
		case "vendor_extension":
			f.extensions = d.Number()
		case "_ref":
			f.fields["$ref"] = field{d.Number(), writerOf(d, name)}
		default:
			f.fields[name] = field{d.Number(), writerOf(d, name)}
		}
	}
	for _, name := range required {
		f.required = append(f.required, f.fields[name].number)
	}
	return f
}

// field reads the value of a field, writes it, and returns the field's number.
func (f *form) field(t *transcoder, name string) protowire.Number {
	if known, ok := f.fields[name]; ok {
		known.write(t, known.number)
		return known.number
	}
	if f.extensions == 0 || !strings.HasPrefix(name, "x-") {
		t.Fail()
		return 0
	}
	t.nested(f.extensions, func() {
		t.string(nameKey, name)
		t.any(nameValue)
	})
	return f.extensions
}

// twice says whether a field is there twice that may not be. They are in order.
func (f *form) twice(fields []span) bool {
	for i := 1; i < len(fields); i++ {
		if n := fields[i].number; n == fields[i-1].number && n != f.extensions {
			return true
		}
	}
	return false
}

// writerOf returns what writes a field.
func writerOf(d protoreflect.FieldDescriptor, name string) func(t *transcoder, n protowire.Number) {
	if d.Kind() == protoreflect.StringKind {
		return stringWriter(name, d.IsList())
	}
	write := scalarWriters[d.Kind()]
	if d.Kind() == protoreflect.MessageKind {
		write = messageWriters[d.Message().Name()]
	}
	switch {
	case write == nil: // our documents have none
		return func(t *transcoder, _ protowire.Number) { t.Fail() }
	case !d.IsList():
		return write
	}
	return func(t *transcoder, n protowire.Number) { t.list(func() { write(t, n) }) }
}

// choices are the values of fields that cannot have all: those that our documents have.
var choices = map[string][]string{"schemes": {"https"}, "type": {"boolean", "integer", "number", "string"}, "collectionFormat": {}}

func stringWriter(name string, list bool) func(t *transcoder, n protowire.Number) {
	read := (*transcoder).Text
	if values, ok := choices[name]; ok {
		read = func(t *transcoder) string {
			s := t.Text()
			if !slices.Contains(values, s) {
				t.Fail()
			}
			return s
		}
	}
	if list {
		return func(t *transcoder, n protowire.Number) { t.list(func() { t.element(n, read(t)) }) }
	}
	return func(t *transcoder, n protowire.Number) { t.string(n, read(t)) }
}

var scalarWriters = map[protoreflect.Kind]func(t *transcoder, n protowire.Number){
	protoreflect.BoolKind:   func(t *transcoder, n protowire.Number) { t.integer(n, int64(protowire.EncodeBool(t.Bool()))) },
	protoreflect.Int64Kind:  func(t *transcoder, n protowire.Number) { t.integer(n, *t.Integer()) },
	protoreflect.DoubleKind: func(t *transcoder, n protowire.Number) { t.number(n, *t.Number()) },
}

var messageWriters = map[protoreflect.Name]func(t *transcoder, n protowire.Number){
	"Any":                      (*transcoder).any,
	"Schema":                   func(t *transcoder, n protowire.Number) { t.message(n, t.schema) },
	"Operation":                func(t *transcoder, n protowire.Number) { t.message(n, t.operation) },
	"Properties":               (*transcoder).properties,
	"Responses":                (*transcoder).responses,
	"AdditionalPropertiesItem": (*transcoder).schemaOrBool,
	"ItemsItem":                func(t *transcoder, n protowire.Number) { t.nested(n, func() { t.message(1, t.schema) }) },
	"TypeItem":                 (*transcoder).types,
	"SchemaItem":               (*transcoder).answer,
	"ParametersItem":           (*transcoder).parameter,
}

// types writes one type, or several.
func (t *transcoder) types(n protowire.Number) {
	element := func() { t.element(1, t.Text()) }
	t.nested(n, func() {
		if t.Peek() == '"' {
			element()
		} else {
			t.list(element)
		}
	})
}

func (t *transcoder) properties(n protowire.Number) {
	t.entries(n, func(string) { t.message(nameValue, t.schema) })
}

func (t *transcoder) schemaOrBool(n protowire.Number) {
	t.nested(n, func() {
		if t.Peek() == '{' {
			t.message(1, t.schema)
		} else {
			t.varint(2, protowire.EncodeBool(t.Bool()))
		}
	})
}

// responses writes answers by their codes.
func (t *transcoder) responses(n protowire.Number) {
	t.entries(n, func(code string) {
		if _, err := strconv.ParseUint(code, 10, 16); err != nil || len(code) != 3 {
			t.Fail()
		}
		t.nested(nameValue, func() { t.message(1, t.response) })
	})
}

// answer writes the schema of an answer: none of ours is a file.
func (t *transcoder) answer(n protowire.Number) {
	if kind, _ := t.ahead("type"); kind == "file" {
		t.Fail()
	}
	t.nested(n, func() { t.message(1, t.schema) })
}

// parameter writes a parameter, or where it is described.
func (t *transcoder) parameter(n protowire.Number) {
	in, _ := t.ahead("in")
	t.nested(n, func() {
		if _, elsewhere := t.ahead("$ref"); elsewhere {
			t.message(2, t.reference)
			return
		}
		t.nested(1, func() {
			switch in {
			case "body":
				t.message(1, t.body)
			case "query":
				t.nested(2, func() { t.message(3, t.inQuery) })
			case "path":
				t.nested(2, func() { t.message(4, t.inPath) })
			default:
				t.Fail()
			}
		})
	})
}
