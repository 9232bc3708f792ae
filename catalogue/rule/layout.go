package rule

import (
	"reflect"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// A layout is how the fields of an upstream internal type stand differently from those of the API.
type layout struct {
	moves [][2]string // the first one stands after the second
	drops []string
}

var layouts = map[reflect.Type]layout{
	reflect.TypeFor[corev1.NodeSpec](): {drops: []string{"PodCIDR"}},
	reflect.TypeFor[corev1.PodSpec](): {
		moves: [][2]string{{"SetHostnameAsFQDN", "Subdomain"}, {"PreemptionPolicy", "Priority"}, {"Overhead", "RuntimeClassName"}},
		drops: []string{"DeprecatedServiceAccount", "HostNetwork", "HostPID", "HostIPC", "ShareProcessNamespace", "HostUsers"},
	},
	reflect.TypeFor[corev1.PodSecurityContext]():     {moves: [][2]string{{"FSGroupChangePolicy", "FSGroup"}}},
	reflect.TypeFor[corev1.VolumeSource]():           {moves: [][2]string{{"Quobyte", "RBD"}}},
	reflect.TypeFor[corev1.PersistentVolumeSource](): {moves: [][2]string{{"Quobyte", "RBD"}, {"FlexVolume", "ISCSI"}}},
	reflect.TypeFor[batchv1.JobSpec]():               {moves: [][2]string{{"PodFailurePolicy", "Completions"}, {"SuccessPolicy", "PodFailurePolicy"}}},
	reflect.TypeFor[storagev1.CSIDriverSpec]():       {moves: [][2]string{{"FSGroupPolicy", "AttachRequired"}}},
}

// hostFields of a pod's specification are part of its security context in upstream's internal type.
var hostFields = []string{"HostNetwork", "HostPID", "HostIPC", "ShareProcessNamespace", "HostUsers"}

type namedField struct {
	name  string // empty: the value's own fields stand here
	value reflect.Value
}

// A podSecurity is a security context together with the specification it is from.
type podSecurity struct{ spec corev1.PodSpec }

func internalFields(v reflect.Value) []namedField {
	if s, ok := v.Interface().(podSecurity); ok {
		return s.fields()
	}
	var out []namedField
	for i := range v.NumField() {
		f := v.Type().Field(i)
		switch {
		case f.Anonymous && ofAPI(f.Type):
			out = append(out, internalFields(v.Field(i))...)
		case f.Anonymous: // metadata, whose types are upstream's own
			out = append(out, namedField{"", v.Field(i)})
		default:
			out = append(out, namedField{f.Name, v.Field(i)})
		}
	}
	if spec, ok := v.Interface().(corev1.PodSpec); ok {
		out[index(out, "SecurityContext")].value = reflect.ValueOf(podSecurity{spec})
	}
	return layouts[v.Type()].arrange(out)
}

func (s podSecurity) fields() []namedField {
	var out []namedField
	for _, name := range hostFields {
		out = append(out, namedField{name, reflect.ValueOf(s.spec).FieldByName(name)})
	}
	security := s.spec.SecurityContext
	if security == nil {
		security = &corev1.PodSecurityContext{}
	}
	return append(out, internalFields(reflect.ValueOf(*security))...)
}

func (l layout) arrange(list []namedField) []namedField {
	for _, move := range l.moves {
		i := index(list, move[0])
		moved := list[i]
		list = slices.Delete(list, i, i+1)
		list = slices.Insert(list, index(list, move[1])+1, moved)
	}
	return slices.DeleteFunc(list, func(f namedField) bool { return slices.Contains(l.drops, f.name) })
}

func index(list []namedField, name string) int {
	return slices.IndexFunc(list, func(f namedField) bool { return f.name == name })
}
