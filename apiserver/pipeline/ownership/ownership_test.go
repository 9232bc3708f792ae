package ownership

import (
	"fmt"
	"io"
	"math/rand"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/klog/v2"
	"sigs.k8s.io/randfill"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/all"
	"clipper/openapi"
)

// TestMain hushes the library, which logs whatever it cannot track.
func TestMain(m *testing.M) {
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	os.Exit(m.Run())
}

// identity converts nothing: all is of one version here.
type identity struct{ runtime.ObjectConvertor }

func (identity) ConvertToVersion(in runtime.Object, _ runtime.GroupVersioner) (runtime.Object, error) {
	return in, nil
}

func (identity) Default(runtime.Object) {}

func managers(t testing.TB, r *catalogue.Resource, subresource string) (*managedfields.FieldManager, *Manager) {
	t.Helper()
	var reset map[fieldpath.APIVersion]fieldpath.Filter
	if subresource == "" {
		reset = map[fieldpath.APIVersion]fieldpath.Filter{
			fieldpath.APIVersion(r.GVK().GroupVersion().String()): fieldpath.NewExcludeSetFilter(fieldpath.NewSet(fieldpath.MakePathOrDie("status"))),
		}
	}
	gvk := r.GVK()
	makeLibrary := func(types managedfields.TypeConverter, converter runtime.ObjectConvertor) (*managedfields.FieldManager, error) {
		return managedfields.NewDefaultFieldManager(types, converter, identity{}, scheme.Scheme, gvk, gvk.GroupVersion(), subresource, reset)
	}
	library, err := makeLibrary(openapi.TypeConverter(), identity{})
	if err != nil {
		t.Fatal(err)
	}
	manager, err := new(Managers).Of(makeLibrary, openapi.TypeConverter(), identity{}, r.New(), gvk, gvk, subresource)
	if err != nil {
		t.Fatal(err)
	}
	return library, manager
}

// stored are the kinds that have managedFields.
func stored() []*catalogue.Resource {
	return slices.DeleteFunc(slices.Clone(all.Resources()), func(r *catalogue.Resource) bool { return r.Prefix == "" })
}

// TestSameAsLibrary drives random histories of random objects of every kind through a Manager and through
// the library, side by side. Most steps change an object a little, or as an object before was changed, so
// that answers are remembered and used for other objects.
func TestSameAsLibrary(t *testing.T) {
	const histories, steps = 6, 8
	asked, remembered := 0, 0
	for _, r := range stored() {
		for _, subresource := range []string{"", "status"} {
			t.Run(r.Name+"/"+subresource, func(t *testing.T) {
				c := newComparison(t, r, subresource, int64(len(r.Name)))
				for range histories {
					c.history(steps)
				}
				asked, remembered = asked+c.asked, remembered+c.remembered
			})
		}
	}
	if remembered < asked/5 {
		t.Errorf("%d of %d writes were answered from memory; this test shows nothing then", remembered, asked)
	}
	t.Logf("%d of %d writes were answered from memory", remembered, asked)
}

type comparison struct {
	t       *testing.T
	r       *catalogue.Resource
	library *managedfields.FieldManager
	manager *Manager
	random  *rand.Rand
	fill    *randfill.Filler

	asked, remembered int
}

func newComparison(t *testing.T, r *catalogue.Resource, subresource string, seed int64) *comparison {
	c := &comparison{t: t, r: r, random: rand.New(rand.NewSource(seed))}
	c.library, c.manager = managers(t, r, subresource)
	c.fill = fuzzer.FuzzerFor(metafuzzer.Funcs, rand.NewSource(seed), serializer.NewCodecFactory(scheme.Scheme)).
		NilChance(0.5).NumElements(0, 3).MaxDepth(12)
	return c
}

// history makes an object and its twin, whose values differ and whose shape does not, and changes them.
func (c *comparison) history(steps int) {
	first := c.object()
	twin := c.copyOf(first)
	c.revalue(reflect.ValueOf(twin).Elem(), false)
	lives := []api.Object{nil, nil}
	nexts := []api.Object{first, twin}
	for range steps {
		manager := fmt.Sprintf("m%d", c.random.Intn(4))
		for i := range lives {
			lives[i] = c.write(lives[i], nexts[i], manager)
		}
		seed, how := c.random.Int63(), c.random.Intn(4)
		for i, live := range lives {
			nexts[i] = c.copyOf(live)
			same := *c
			same.random = rand.New(rand.NewSource(seed))
			same.mutate(nexts[i], how)
		}
	}
}

func (c *comparison) object() api.Object {
	obj := c.r.New()
	c.fill.Fill(obj)
	obj.SetManagedFields(nil)
	obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return obj
}

func (c *comparison) copyOf(obj api.Object) api.Object { return obj.DeepCopyObject().(api.Object) }

// write asks both and returns the library's result, as the store would keep it.
func (c *comparison) write(live, next api.Object, manager string) api.Object {
	c.t.Helper()
	next.GetObjectKind().SetGroupVersionKind(c.r.GVK())
	want, got := c.copyOf(next), c.copyOf(next)
	before := live
	if live == nil {
		before = c.r.New()
	}
	c.library.UpdateNoErrors(WithKind(c.copyOf(before), c.r.GVK()), want, manager)
	c.asked++
	if k, ok := c.manager.question(orNothing(live, c.manager), got, manager); ok && c.manager.memory.get(k) != nil {
		c.remembered++
	}
	kept := c.copyOf(before)
	c.manager.Update(live, got, manager)
	forgetNow(want)
	forgetNow(got)
	c.writeInOrder(before, next, want, manager)
	for _, obj := range []api.Object{want, got} {
		obj.(interface{ Size() int }).Size() // amounts remember how they are written
	}
	if !reflect.DeepEqual(want, got) {
		c.t.Fatalf("%s by %s\nlibrary: %s\nmanager: %s\nlive: %+v\nnext: %+v", c.r.Name, manager, describe(want), describe(got), live, next)
	}
	if live != nil && !reflect.DeepEqual(kept, live) {
		c.t.Fatalf("the live %s was changed", c.r.Name)
	}
	if want.GetUID() == "" {
		want.SetUID(types.UID(fmt.Sprint(c.asked)))
	}
	want.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	c.age(want)
	return want
}

// writeInOrder asks as for large objects.
func (c *comparison) writeInOrder(before, next, want api.Object, manager string) {
	c.t.Helper()
	library, err := c.manager.libraryFor(orderly{c.manager.types, true}, 0)
	if err != nil {
		c.t.Fatal(err)
	}
	got := c.copyOf(next)
	library.UpdateNoErrors(WithKind(c.copyOf(before), c.r.GVK()), got, manager)
	forgetNow(got)
	if !reflect.DeepEqual(want.GetManagedFields(), got.GetManagedFields()) {
		c.t.Fatalf("%s by %s\nlibrary: %s\nin order: %s\nlive: %+v\nnext: %+v", c.r.Name, manager, describe(want), describe(got), before, next)
	}
}

func orNothing(live api.Object, m *Manager) api.Object {
	if live == nil {
		return m.nothing
	}
	return live
}

// now stands for the time of a write, which both took from the clock.
var now = metav1.NewTime(time.Unix(2e9, 0).UTC())

func forgetNow(obj api.Object) {
	entries := obj.GetManagedFields()
	for i := range entries {
		if e := &entries[i]; e.Time != nil && time.Since(e.Time.Time) < time.Minute && time.Since(e.Time.Time) > 0 {
			e.Time = now.DeepCopy()
		}
	}
}

// age gives the entries different times, so that their order and origin show.
func (c *comparison) age(obj api.Object) {
	entries := obj.GetManagedFields()
	for i := range entries {
		if entries[i].Time != nil && entries[i].Time.Equal(&now) {
			at := metav1.NewTime(time.Unix(1.5e9+int64(c.random.Intn(5)), 0).UTC())
			entries[i].Time = &at
		}
	}
}

func describe(obj api.Object) (out string) {
	for _, e := range obj.GetManagedFields() {
		out += fmt.Sprintf("\n  %s %s %s %v %s", e.Manager, e.Operation, e.Subresource, e.Time, e.FieldsV1.Raw)
	}
	return out
}

// mutate changes obj in one of the ways that clients do.
func (c *comparison) mutate(obj api.Object, how int) {
	kind := obj.GetObjectKind().GroupVersionKind()
	entries, uid := obj.GetManagedFields(), obj.GetUID()
	switch how {
	case 0: // other values
		c.revalue(reflect.ValueOf(obj).Elem(), true)
	case 1: // nothing
	case 2: // other parts
		c.refill(reflect.ValueOf(obj).Elem(), 4)
	default:
		c.revalue(reflect.ValueOf(obj).Elem(), false)
		c.refill(reflect.ValueOf(obj).Elem(), 2)
	}
	obj.GetObjectKind().SetGroupVersionKind(kind)
	obj.SetUID(uid)
	switch c.random.Intn(8) {
	case 0:
		obj.SetManagedFields(nil) // a client that does not know them
	case 1:
		if len(entries) > 1 {
			obj.SetManagedFields(entries[1:])
		}
	case 2:
		obj.SetManagedFields([]metav1.ManagedFieldsEntry{})
	default:
		obj.SetManagedFields(entries)
	}
}

// revalue changes values and keeps the shape; in lists, where values may be keys, only if inLists.
func (c *comparison) revalue(v reflect.Value, inLists bool) {
	if !v.CanSet() {
		return
	}
	switch v.Interface().(type) {
	case metav1.Time, metav1.MicroTime:
		if c.random.Intn(2) == 0 && !v.IsZero() {
			v.Set(reflect.ValueOf(metav1.NewTime(time.Unix(c.random.Int63n(4e9)+1, c.random.Int63n(1e9)))).Convert(v.Type()))
		}
		return
	case runtime.RawExtension, intstr.IntOrString, []metav1.ManagedFieldsEntry:
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			c.revalue(v.Elem(), inLists)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			c.revalue(v.Field(i), inLists)
		}
	case reflect.Slice:
		for i := 0; inLists && i < v.Len(); i++ {
			c.revalue(v.Index(i), inLists)
		}
	case reflect.String:
		if v.Len() > 0 && c.random.Intn(2) == 0 {
			v.SetString(fmt.Sprint("v", c.random.Intn(100)))
		}
	case reflect.Int32, reflect.Int64:
		if v.Int() != 0 && c.random.Intn(2) == 0 {
			v.SetInt(int64(c.random.Intn(1000) + 1))
		}
	case reflect.Map:
		c.revalueMap(v)
	}
}

func (c *comparison) revalueMap(v reflect.Value) {
	if v.Type().Elem().Kind() != reflect.String {
		return
	}
	for _, k := range v.MapKeys() {
		if c.random.Intn(2) == 0 {
			v.SetMapIndex(k, reflect.ValueOf(fmt.Sprint("v", c.random.Intn(100))).Convert(v.Type().Elem()))
		}
	}
}

// refill empties or fills some parts anew, at most n.
func (c *comparison) refill(v reflect.Value, n int) {
	for ; n > 0; n-- {
		at := v
		for depth := c.random.Intn(6) + 1; depth > 0; depth-- {
			if next, ok := c.descend(at); ok {
				at = next
			}
		}
		if at == v || !at.CanAddr() || at.Type() == reflect.TypeFor[[]metav1.ManagedFieldsEntry]() {
			continue
		}
		switch c.random.Intn(3) {
		case 0:
			at.SetZero()
		case 1:
			if at.Kind() == reflect.Slice && at.Len() > 0 { // an item goes, or comes twice
				if i := c.random.Intn(at.Len()); c.random.Intn(2) == 0 {
					at.Set(reflect.AppendSlice(at.Slice(0, i), at.Slice(i+1, at.Len())))
				} else {
					at.Set(reflect.Append(at, at.Index(i)))
				}
			}
		default:
			c.fill.Fill(at.Addr().Interface())
		}
	}
}

func (c *comparison) descend(v reflect.Value) (reflect.Value, bool) {
	switch v.Interface().(type) {
	case metav1.Time, metav1.MicroTime, runtime.RawExtension, intstr.IntOrString, metav1.FieldsV1:
		return v, false
	}
	switch {
	case v.Kind() == reflect.Struct && v.NumField() > 0:
		f := v.Field(c.random.Intn(v.NumField()))
		return f, f.CanSet()
	case v.Kind() == reflect.Pointer && !v.IsNil():
		return v.Elem(), true
	case v.Kind() == reflect.Slice && v.Len() > 0:
		return v.Index(c.random.Intn(v.Len())), true
	}
	return v, false
}

// TestWhichKinds: all kinds are remembered; of their fields, only those are the library's that nobody sets,
// and one whose parts may be refused.
func TestWhichKinds(t *testing.T) {
	unknown := map[string]bool{}
	for _, r := range stored() {
		_, m := managers(t, r, "")
		if m.plan == nil {
			t.Errorf("%s is left to the library", r.Name)
			continue
		}
		findUnknown(m.plan, r.Name, map[*node]bool{}, unknown)
	}
	for path := range unknown {
		if !strings.HasSuffix(path, ".metadata.managedFields") && path != "statefulsets.spec.volumeClaimTemplates" {
			t.Errorf("%s is left to the library", path)
		}
	}
}

func findUnknown(n *node, path string, seen map[*node]bool, out map[string]bool) {
	if seen[n] {
		return
	}
	seen[n] = true
	if n.form == formUnknown {
		out[path] = true
	}
	for _, f := range n.fields {
		findUnknown(f.node, path+"."+f.JsonName, seen, out)
	}
	if n.elem != nil {
		findUnknown(n.elem, path+"[]", seen, out)
	}
}
