package legacy_test

import (
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	discoveryv1beta1 "k8s.io/api/discovery/v1beta1"
	extensionsv1beta1 "k8s.io/api/extensions/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	policyv1beta1 "k8s.io/api/policy/v1beta1"
	resourcev1 "k8s.io/api/resource/v1"
	resourcev1beta1 "k8s.io/api/resource/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/scheme"

	"clipper/api"
	"clipper/catalogue/all"
	"clipper/catalogue/legacy"
)

// TestNumbers: every field that an earlier and the present version have in common bears the same number, and no
// number means two things.
func TestNumbers(t *testing.T) {
	upgrades := legacy.Upgrades(all.Resources(), corev1.IPv4Protocol)
	compared := 0
	for _, r := range all.Resources() {
		for gvk := range upgrades {
			if gvk.Kind != r.Kind || gvk == r.GVK() || gvk.Kind == "Ingress" || gvk.Kind == "EndpointSlice" || gvk.GroupVersion() == resourcev1beta1.SchemeGroupVersion || isAlso(r.Also, gvk) || !scheme.Scheme.Recognizes(gvk) || related(r.Group) != related(gvk.Group) {
				continue
			}
			old, err := scheme.Scheme.New(gvk)
			if err != nil {
				t.Fatal(err)
			}
			compared++
			compare(t, gvk.String(), reflect.TypeOf(old).Elem(), reflect.TypeOf(r.New()).Elem(), map[reflect.Type]bool{})
		}
	}
	if compared < 30 {
		t.Errorf("%d kinds compared only", compared)
	}
}

func isAlso[V any](also []V, gvk schema.GroupVersionKind) bool {
	for _, v := range also {
		if reflect.ValueOf(v).FieldByName("Version").String() == gvk.Version {
			return true
		}
	}
	return false
}

// related groups have moved into each other.
func related(group string) string {
	if group == "extensions" || group == "networking.k8s.io" {
		return "apps"
	}
	return group
}

func compare(t *testing.T, path string, old, now reflect.Type, seen map[reflect.Type]bool) {
	for old.Kind() == reflect.Pointer || old.Kind() == reflect.Slice || old.Kind() == reflect.Map {
		if now.Kind() != old.Kind() {
			if now.Kind() == reflect.Pointer { // absence can be told from zero now: the same on the wire
				now = now.Elem()
				continue
			}
			if old.Kind() == reflect.Pointer {
				old = old.Elem()
				continue
			}
			t.Errorf("%s is %v, was %v", path, now, old)
			return
		}
		old, now = old.Elem(), now.Elem()
	}
	if now.Kind() == reflect.Pointer {
		now = now.Elem()
	}
	if old == now || old.Kind() != reflect.Struct || seen[old] {
		if old.Kind() != now.Kind() {
			t.Errorf("%s is %v, was %v", path, now, old)
		}
		return
	}
	seen[old] = true
	was, is := fields(old), fields(now)
	for number, f := range was {
		g, ok := is[number]
		switch {
		case !ok:
		case name(f) != name(g) && !same[name(f)+"="+name(g)]:
			t.Errorf("%s: field %s of %v is %s in %v, and %s was %s", path, number, old, name(f), old, name(g), now)
		default:
			compare(t, path+"."+name(f), f.Type, g.Type, seen)
		}
	}
	byName := map[string]string{}
	for number, g := range is {
		byName[name(g)] = number
	}
	for number, f := range was {
		if have, ok := byName[name(f)]; ok && have != number {
			t.Errorf("%s: %s of %v has the number %s, now %s", path, name(f), old, number, have)
		}
	}
}

// same are fields that upstream renamed without changing what they mean.
var same = map[string]bool{
	"assuredConcurrencyShares=nominalConcurrencyShares": true,
}

func fields(t reflect.Type) map[string]reflect.StructField {
	out := map[string]reflect.StructField{}
	for i := range t.NumField() {
		parts := strings.Split(t.Field(i).Tag.Get("protobuf"), ",")
		if len(parts) > 1 {
			out[parts[1]] = t.Field(i)
		}
	}
	return out
}

func name(f reflect.StructField) string {
	return strings.Split(f.Tag.Get("json"), ",")[0]
}

func TestUpgrade(t *testing.T) {
	upgrades := legacy.Upgrades(all.Resources(), corev1.IPv4Protocol)
	for _, tt := range []struct {
		gvk   schema.GroupVersionKind
		in    api.Object
		check func(api.Object) bool
	}{
		{policyv1beta1.SchemeGroupVersion.WithKind("PodDisruptionBudget"),
			&policyv1beta1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "b"}, Spec: policyv1beta1.PodDisruptionBudgetSpec{MinAvailable: &intstr.IntOrString{IntVal: 2}}},
			func(o api.Object) bool { return o.(*policyv1.PodDisruptionBudget).Spec.MinAvailable.IntVal == 2 }},
		{extensionsv1beta1.SchemeGroupVersion.WithKind("Ingress"),
			&extensionsv1beta1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: "i"}, Spec: extensionsv1beta1.IngressSpec{
				Backend: &extensionsv1beta1.IngressBackend{ServiceName: "web", ServicePort: intstr.FromString("http")},
				Rules: []extensionsv1beta1.IngressRule{{Host: "h", IngressRuleValue: extensionsv1beta1.IngressRuleValue{HTTP: &extensionsv1beta1.HTTPIngressRuleValue{
					Paths: []extensionsv1beta1.HTTPIngressPath{{Path: "/", Backend: extensionsv1beta1.IngressBackend{ServiceName: "api", ServicePort: intstr.FromInt32(80)}}}}}}}}},
			func(o api.Object) bool {
				s := o.(*networkingv1.Ingress).Spec
				p := s.Rules[0].HTTP.Paths[0]
				return s.DefaultBackend.Service.Port.Name == "http" && p.Backend.Service.Port.Number == 80 && *p.PathType == networkingv1.PathTypeImplementationSpecific
			}},
		{discoveryv1beta1.SchemeGroupVersion.WithKind("EndpointSlice"),
			&discoveryv1beta1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "s"}, AddressType: "IPv4", Endpoints: []discoveryv1beta1.Endpoint{{
				Addresses: []string{"10.0.0.1"}, Topology: map[string]string{"kubernetes.io/hostname": "n1", "topology.kubernetes.io/zone": "z", "rack": "r"},
				Hints: &discoveryv1beta1.EndpointHints{ForZones: []discoveryv1beta1.ForZone{{Name: "z"}}}}}},
			func(o api.Object) bool {
				e := o.(*discoveryv1.EndpointSlice).Endpoints[0]
				return *e.NodeName == "n1" && *e.Zone == "z" && len(e.DeprecatedTopology) == 1 && e.Hints.ForZones[0].Name == "z"
			}},
	} {
		out, err := upgrades[tt.gvk](tt.in)
		if err != nil || out.GetName() != tt.in.GetName() || !tt.check(out) {
			t.Errorf("%s became %+v: %v", tt.gvk, out, err)
		}
	}
}

// TestNestedRequests: claims for devices that were stored before resource.k8s.io/v1 ask for the same devices.
func TestNestedRequests(t *testing.T) {
	upgrade := legacy.Upgrades(all.Resources(), corev1.IPv4Protocol)[resourcev1beta1.SchemeGroupVersion.WithKind("ResourceClaim")]
	old := &resourcev1beta1.ResourceClaim{Spec: resourcev1beta1.ResourceClaimSpec{Devices: resourcev1beta1.DeviceClaim{
		Requests: []resourcev1beta1.DeviceRequest{{Name: "gpu", DeviceClassName: "fast", AllocationMode: "ExactCount", Count: 2}},
	}}}
	out, err := upgrade(old)
	if err != nil {
		t.Fatal(err)
	}
	if r := out.(*resourcev1.ResourceClaim).Spec.Devices.Requests[0]; r.Exactly == nil || r.Exactly.DeviceClassName != "fast" || r.Exactly.Count != 2 {
		t.Errorf("got %+v", r)
	}
}
