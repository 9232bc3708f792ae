package mutation

import (
	"reflect"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The types that are values rather than structs of fields.
var (
	typeMeta    = reflect.TypeFor[metav1.TypeMeta]()
	objectMeta  = reflect.TypeFor[metav1.ObjectMeta]()
	plainString = reflect.TypeFor[string]()
)

// deepest is where filling stops: some types contain themselves.
const deepest = 9

// fill gives the zero value v content that has a chance to be valid: what the API demands nearly always,
// what it does not rarely.
func (m *Mutator) fill(v reflect.Value, depth int) {
	if m.setWhole(v) {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		m.fillStruct(v, depth)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		m.fill(v.Elem(), depth)
	case reflect.Slice:
		m.fillSlice(v, depth)
	default:
		m.mutate(v, depth)
	}
}

func (m *Mutator) fillStruct(v reflect.Value, depth int) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		percent := 85
		switch {
		case !f.IsExported():
			continue
		case f.Type == objectMeta:
			percent = 5
		case strings.Contains(f.Tag.Get("json"), "omitempty"):
			percent = 25
		}
		if m.chance(percent) && depth < deepest {
			m.fill(v.Field(i), depth+1)
		}
	}
}

func (m *Mutator) fillSlice(v reflect.Value, depth int) {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		v.SetBytes([]byte(pick(m, texts)))
		return
	}
	n := 1 + m.Rand.Intn(2)
	v.Set(reflect.MakeSlice(v.Type(), n, n))
	for i := range n {
		m.fill(v.Index(i), depth+1)
	}
}

// setWhole sets v if its type is a value of the API's own, and says whether it is.
func (m *Mutator) setWhole(v reflect.Value) bool {
	switch p := v.Addr().Interface().(type) {
	case *resource.Quantity:
		*p = resource.MustParse(pick(m, quantities))
	case *metav1.Time:
		*p = metav1.NewTime(m.when())
	case *metav1.MicroTime:
		*p = metav1.NewMicroTime(m.when())
	case *metav1.Duration:
		*p = metav1.Duration{Duration: time.Duration(pick(m, numbers)) * time.Second}
	case *intstr.IntOrString:
		*p = m.intOrString()
	case *runtime.RawExtension:
		*p = runtime.RawExtension{Raw: []byte(pick(m, documents))}
	case *metav1.FieldsV1:
	default:
		return false
	}
	return true
}

// when returns one of a few times in 2023, hours apart.
func (m *Mutator) when() time.Time {
	return time.Unix(1700000000+int64(m.Rand.Intn(5)-2)*3600, 0)
}

func (m *Mutator) intOrString() intstr.IntOrString {
	if m.chance(50) {
		return intstr.FromInt32(int32(pick(m, numbers)))
	}
	return intstr.FromString(m.text(plainString))
}

// setScalar sets v to another value.
func (m *Mutator) setScalar(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		text := ""
		if !m.chance(12) {
			text = m.text(v.Type())
		}
		v.SetString(text)
	case reflect.Bool:
		v.SetBool(m.chance(50))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n := pick(m, numbers)
		if m.chance(33) {
			n = v.Int() + int64(m.Rand.Intn(3)-1)
		}
		if !v.OverflowInt(n) {
			v.SetInt(n)
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(m.Rand.Intn(200)))
	}
}
