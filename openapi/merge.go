package openapi

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	smdschema "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"clipper/openapi/mergetype"
)

//go:embed types.json.gz
var packedTypes []byte

// mergeTypes opens the structured-merge types once; each type stays JSON until a kind needs it.
var mergeTypes = sync.OnceValues(func() (mergetype.File, error) {
	var f mergetype.File
	err := unpack(packedTypes, &f)
	return f, err
})

// TypeConverter returns the converter between built-in objects and their structured-merge values, for
// k8s.io/apimachinery/pkg/util/managedfields. It is safe for concurrent use. A kind's types are decoded
// when the kind is first converted. Unknown kinds get managedfields' "no corresponding type" error.
func TypeConverter() managedfields.TypeConverter { return &sharedConverter }

var sharedConverter converter

type converter struct {
	parsers sync.Map // schema.GroupVersionKind → *typed.ParseableType
}

func (c *converter) ObjectToTyped(obj runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	t, err := c.parser(obj.GetObjectKind().GroupVersionKind())
	if err != nil {
		return nil, err
	}
	if u, ok := obj.(*unstructured.Unstructured); ok {
		return t.FromUnstructured(u.UnstructuredContent(), opts...)
	}
	return t.FromStructured(obj, opts...)
}

func (c *converter) TypedToObject(value *typed.TypedValue) (runtime.Object, error) {
	content, ok := value.AsValue().Unstructured().(map[string]any)
	if !ok {
		return nil, fmt.Errorf("merged value is no object but %T", value.AsValue().Unstructured())
	}
	return &unstructured.Unstructured{Object: content}, nil
}

func (c *converter) parser(gvk schema.GroupVersionKind) (*typed.ParseableType, error) {
	if t, ok := c.parsers.Load(gvk); ok {
		return t.(*typed.ParseableType), nil
	}
	file, err := mergeTypes()
	if err != nil {
		return nil, err
	}
	root, ok := file.Kinds[mergetype.KindKey(gvk)]
	if !ok {
		return nil, fmt.Errorf("no corresponding type for %v", gvk)
	}
	reachable, err := closure(file, root)
	if err != nil {
		return nil, fmt.Errorf("open the merge type of %v: %w", gvk, err)
	}
	t := (&typed.Parser{Schema: smdschema.Schema{Types: reachable}}).Type(root)
	shared, _ := c.parsers.LoadOrStore(gvk, &t)
	return shared.(*typed.ParseableType), nil
}

// closure decodes the type named root and all that it refers to.
func closure(file mergetype.File, root string) ([]smdschema.TypeDef, error) {
	var defs []smdschema.TypeDef
	seen := map[string]bool{root: true}
	for queue := []string{root}; len(queue) > 0; queue = queue[1:] {
		name := queue[0]
		var wire mergetype.Type
		if err := json.Unmarshal(file.Types[name], &wire); err != nil {
			return nil, fmt.Errorf("type %s: %w", name, err)
		}
		defs = append(defs, smdschema.TypeDef{Name: name, Atom: wire.Atom()})
		wire.EachName(func(ref string) {
			if !seen[ref] {
				seen[ref] = true
				queue = append(queue, ref)
			}
		})
	}
	return defs, nil
}
