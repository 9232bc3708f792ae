package all

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	"sigs.k8s.io/yaml"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts of testdata yield into them")

// scriptNow is what every clock says while a script runs.
var scriptNow = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// TestScripts runs the scripts in the testdata folders of the whole catalogue. A script is a list of steps,
//
//	command [argument]
//	YAML
//	----
//	what the step yields
//
// separated by lines of "====". They work on one object:
//
//	create   makes the object from a manifest of any version, as the pipeline does: ok or the faults, and warnings
//	patch    updates it by a strategic merge patch
//	status   the same through the status subresource
//	sub X    the same through the subresource X
//	set      patches it behind the rules' back
//	show     prints it as it would be stored, in the storage version like the patches
//	row      prints its table row, as `kubectl get -o wide` has it
//	fields   prints its selectable fields
func TestScripts(t *testing.T) {
	oldNow := rule.Now
	rule.Now = func() metav1.Time { return metav1.NewTime(scriptNow) }
	defer func() { rule.Now = oldNow }()
	var paths []string
	for _, glob := range []string{"../*/testdata/*", "../*/*/testdata/*"} {
		found, err := filepath.Glob(glob)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, found...)
	}
	if len(paths) == 0 {
		t.Fatal("no scripts")
	}
	for _, path := range paths {
		t.Run(strings.TrimPrefix(path, "../"), func(t *testing.T) { runScript(t, path) })
	}
}

func runScript(t *testing.T, path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	var s script
	for i, step := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n====\n") {
		if i > 0 {
			out.WriteString("====\n")
		}
		input, _, _ := strings.Cut(step+"\n", "\n----\n")
		input = strings.TrimSuffix(input, "\n")
		head, body, _ := strings.Cut(input, "\n")
		result, err := s.run(strings.Fields(head), body)
		if err != nil {
			t.Fatalf("step %d, %q: %v", i+1, head, err)
		}
		fmt.Fprintf(&out, "%s\n----\n%s", input, result)
	}
	if *rewrite {
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, got := strings.Split(string(data), "\n"), strings.Split(out.String(), "\n")
	for i := 0; i < len(want) || i < len(got); i++ {
		if i >= len(want) || i >= len(got) || want[i] != got[i] {
			t.Fatalf("%s:%d differs; look at the diff after running with -rewrite\ngot:\n%s", path, i+1,
				strings.Join(got[i:min(i+8, len(got))], "\n"))
		}
	}
}

// A script is the state between steps: an object and its description.
type script struct {
	r   *catalogue.Resource
	v   *catalogue.Version // in which the object was written; nil for the storage version
	obj api.Object
}

func (s *script) run(head []string, body string) (string, error) {
	if len(head) == 0 {
		return "", fmt.Errorf("no command")
	}
	if head[0] == "create" {
		return s.create(body)
	}
	if s.obj == nil {
		return "", fmt.Errorf("no object yet")
	}
	next, err := s.patched(body)
	if err != nil {
		return "", err
	}
	if s.r.Default != nil && head[0] != "set" {
		s.r.Default(next)
	}
	switch head[0] {
	case "patch":
		if s.r.PrepareUpdate != nil {
			s.r.PrepareUpdate(next, s.obj)
		}
		own := s.r.ValidateUpdate
		if s.v != nil && s.v.ValidateUpdate != nil {
			own = s.v.ValidateUpdate
		}
		return s.settle(next, s.obj, own, s.r.Warnings), nil
	case "status":
		return s.change(next, s.r.Status)
	case "sub":
		for _, sub := range s.r.Subresources {
			if sub.Name == head[1] {
				return s.change(next, sub.Update)
			}
		}
		return "", fmt.Errorf("no subresource %q", head[1])
	case "set":
		s.obj = next
		return "", nil
	case "show":
		return show(s.obj)
	case "row":
		return s.row(), nil
	case "fields":
		var b strings.Builder
		for _, name := range sortedKeys(s.r.Fields) {
			fmt.Fprintf(&b, "%s=%s\n", name, s.r.Fields[name](s.obj))
		}
		return b.String(), nil
	}
	return "", fmt.Errorf("no command %q", head[0])
}

func (s *script) create(body string) (string, error) {
	var kind metav1.TypeMeta
	if err := yaml.Unmarshal([]byte(body), &kind); err != nil {
		return "", err
	}
	for _, r := range Resources() {
		if r.Kind != kind.Kind {
			continue
		}
		if r.GVK().GroupVersion().String() == kind.APIVersion {
			return s.createAs(r, nil, body)
		}
		for i := range r.Also {
			if v := &r.Also[i]; versionOf(r, v) == kind.APIVersion {
				return s.createAs(r, v, body)
			}
		}
	}
	return "", fmt.Errorf("no kind %s of %s", kind.Kind, kind.APIVersion)
}

// versionOf is the apiVersion of a version that is not the storage version.
func versionOf(r *catalogue.Resource, v *catalogue.Version) string {
	group := v.Group
	if group == "" {
		group = r.Group
	}
	return schema.GroupVersion{Group: group, Version: v.Version}.String()
}

// createAs makes the object from a manifest in version v; nil is the storage version.
func (s *script) createAs(r *catalogue.Resource, v *catalogue.Version, body string) (string, error) {
	obj, err := decodeAs(r, v, body)
	if err != nil {
		return "", err
	}
	s.r, s.v, s.obj = r, v, obj.DeepCopyObject().(api.Object)
	if r.Default != nil {
		r.Default(obj)
	}
	if r.PrepareCreate != nil {
		r.PrepareCreate(obj)
	}
	if r.PrepareCreateFor != nil {
		r.PrepareCreateFor(obj, &user.DefaultInfo{Name: "jane", Groups: []string{"ops"}})
	}
	own := r.ValidateCreate
	if v != nil && v.ValidateCreate != nil {
		own = v.ValidateCreate
	}
	validate := func(obj, _ api.Object) field.ErrorList {
		if own == nil {
			return nil
		}
		return own(obj)
	}
	return s.settle(obj, nil, validate, r.Warnings), nil
}

func decodeAs(r *catalogue.Resource, v *catalogue.Version, body string) (api.Object, error) {
	if v == nil {
		obj := r.New()
		return obj, yaml.UnmarshalStrict([]byte(body), obj)
	}
	obj := v.New()
	if err := yaml.UnmarshalStrict([]byte(body), obj); err != nil {
		return nil, err
	}
	if v.Default != nil {
		v.Default(obj)
	}
	return v.ToHub(obj)
}

func (s *script) change(next api.Object, how *catalogue.Status) (string, error) {
	if how == nil {
		return "", fmt.Errorf("nothing to update there")
	}
	if how.Prepare != nil {
		how.Prepare(next, s.obj)
	}
	return s.settle(next, s.obj, how.Validate, nil), nil
}

// settle keeps next as the object if it is valid; warnings are for valid objects only.
func (s *script) settle(next, old api.Object, validate func(obj, old api.Object) field.ErrorList,
	warnings func(obj, old api.Object) []string) string {
	var b strings.Builder
	var faults field.ErrorList
	if validate != nil {
		faults = validate(next, old)
	}
	for _, f := range faults {
		fmt.Fprintln(&b, f)
	}
	if len(faults) > 0 {
		return b.String()
	}
	if warnings != nil {
		for _, w := range warnings(next, old) {
			fmt.Fprintf(&b, "warning: %s\n", w)
		}
	}
	if s.r.Canonicalize != nil {
		s.r.Canonicalize(next)
	}
	s.obj = next
	b.WriteString("ok\n")
	return b.String()
}

// patched is a copy of the object with a strategic merge patch applied.
func (s *script) patched(body string) (api.Object, error) {
	patch, err := yaml.YAMLToJSON([]byte(body))
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(body) == "" {
		patch = []byte("{}")
	}
	now, err := json.Marshal(s.obj)
	if err != nil {
		return nil, err
	}
	then, err := strategicpatch.StrategicMergePatch(now, patch, s.r.New())
	if err != nil {
		return nil, err
	}
	obj := s.r.New()
	return obj, json.Unmarshal(then, obj)
}

func show(obj api.Object) (string, error) {
	data, err := json.Marshal(obj)
	if err != nil {
		return "", err
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		return "", err
	}
	out, err := yaml.Marshal(m)
	return string(out), err
}

func (s *script) row() string {
	var b strings.Builder
	for i, cell := range s.r.Row(s.obj, scriptNow) {
		if i == len(s.r.Columns) {
			fmt.Fprintf(&b, "(in no column): %v\n", cell)
			break
		}
		name := s.r.Columns[i].Name
		if s.r.Columns[i].Priority > 0 {
			name += " (wide)"
		}
		fmt.Fprintf(&b, "%s: %v\n", name, cell)
	}
	return b.String()
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
