// Package preview describes the versions that upstream has and offers to nobody who does not ask (--runtime-config): alpha
// and beta versions of kinds that are served in their final version as well. They are other forms of what is stored as
// ever; who asks for none pays for none.
package preview

import (
	"sync"

	admissionv1alpha1 "k8s.io/api/admissionregistration/v1alpha1"
	admissionv1beta1 "k8s.io/api/admissionregistration/v1beta1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	resourcev1beta1 "k8s.io/api/resource/v1beta1"
	resourcev1beta2 "k8s.io/api/resource/v1beta2"
	storagev1beta1 "k8s.io/api/storage/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/deprecation"
	draconversion "k8s.io/dynamic-resource-allocation/api/v1beta1"

	"clipper/api"
	"clipper/catalogue"
)

// A form describes one version of a kind.
type form func(r *catalogue.Resource) catalogue.Version

// forms are the versions by group and resource, those that upstream prefers first.
var forms = map[schema.GroupResource][]form{
	{Group: "admissionregistration.k8s.io", Resource: "mutatingadmissionpolicies"}: {
		same[admissionv1beta1.MutatingAdmissionPolicy, admissionv1beta1.MutatingAdmissionPolicyList]("v1beta1"),
		same[admissionv1alpha1.MutatingAdmissionPolicy, admissionv1alpha1.MutatingAdmissionPolicyList]("v1alpha1"),
	},
	{Group: "admissionregistration.k8s.io", Resource: "mutatingadmissionpolicybindings"}: {
		same[admissionv1beta1.MutatingAdmissionPolicyBinding, admissionv1beta1.MutatingAdmissionPolicyBindingList]("v1beta1"),
		same[admissionv1alpha1.MutatingAdmissionPolicyBinding, admissionv1alpha1.MutatingAdmissionPolicyBindingList]("v1alpha1"),
	},
	{Group: "networking.k8s.io", Resource: "ipaddresses"}:          {same[networkingv1beta1.IPAddress, networkingv1beta1.IPAddressList]("v1beta1")},
	{Group: "networking.k8s.io", Resource: "servicecidrs"}:         {same[networkingv1beta1.ServiceCIDR, networkingv1beta1.ServiceCIDRList]("v1beta1")},
	{Group: "storage.k8s.io", Resource: "volumeattributesclasses"}: {same[storagev1beta1.VolumeAttributesClass, storagev1beta1.VolumeAttributesClassList]("v1beta1")},
	{Group: "resource.k8s.io", Resource: "deviceclasses"}: {
		same[resourcev1beta2.DeviceClass, resourcev1beta2.DeviceClassList]("v1beta2"),
		other[resourcev1beta1.DeviceClass, resourcev1beta1.DeviceClassList]("v1beta1"),
	},
	{Group: "resource.k8s.io", Resource: "resourceclaims"}: {
		same[resourcev1beta2.ResourceClaim, resourcev1beta2.ResourceClaimList]("v1beta2"),
		other[resourcev1beta1.ResourceClaim, resourcev1beta1.ResourceClaimList]("v1beta1"),
	},
	{Group: "resource.k8s.io", Resource: "resourceclaimtemplates"}: {
		same[resourcev1beta2.ResourceClaimTemplate, resourcev1beta2.ResourceClaimTemplateList]("v1beta2"),
		other[resourcev1beta1.ResourceClaimTemplate, resourcev1beta1.ResourceClaimTemplateList]("v1beta1"),
	},
	{Group: "resource.k8s.io", Resource: "resourceslices"}: {
		same[resourcev1beta2.ResourceSlice, resourcev1beta2.ResourceSliceList]("v1beta2"),
		other[resourcev1beta1.ResourceSlice, resourcev1beta1.ResourceSliceList]("v1beta1"),
	},
}

// Absent are the group versions, and their resources, that upstream offers to those who ask and that are not here: kinds
// without a final version.
var Absent = map[schema.GroupVersion][]string{
	{Group: "coordination.k8s.io", Version: "v1beta1"}:        {"leasecandidates"},
	{Group: "coordination.k8s.io", Version: "v1alpha2"}:       {"leasecandidates"},
	{Group: "internal.apiserver.k8s.io", Version: "v1alpha1"}: {"storageversions"},
	{Group: "resource.k8s.io", Version: "v1beta2"}:            {"devicetaintrules"},
	{Group: "resource.k8s.io", Version: "v1alpha3"}:           {"devicetaintrules", "resourcepoolstatusrequests"},
}

// Of returns the versions that r can be offered in beside those that it is.
func Of(r *catalogue.Resource) []catalogue.Version {
	var out []catalogue.Version
	for _, f := range forms[r.GVR().GroupResource()] {
		out = append(out, f(r))
	}
	return out
}

// message is what the types of k8s.io/api implement.
type message interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// same describes a version whose protobuf form is that of the storage version: only names of Go's types differ.
func same[V, L any](version string) form {
	return func(r *catalogue.Resource) catalogue.Version {
		return describe[V, L](version, r, rewrite, rewrite)
	}
}

func rewrite(in, out api.Object) error {
	data, err := in.(message).Marshal()
	if err != nil {
		return err
	}
	return out.(message).Unmarshal(data)
}

// conversions are those of resource.k8s.io/v1beta1, whose devices and requests were nested otherwise.
var conversions = sync.OnceValue(func() *runtime.Scheme {
	s := runtime.NewScheme()
	if err := draconversion.RegisterConversions(s); err != nil {
		panic(err) // the library's own
	}
	return s
})

// other describes a version of another form than the storage version's.
func other[V, L any](version string) form {
	return func(r *catalogue.Resource) catalogue.Version {
		s := conversions()
		convert := func(in, out api.Object) error { return s.Convert(in, out, nil) }
		return describe[V, L](version, r, convert, convert)
	}
}

// describe makes the description from a conversion each way, which may take parts of in for out.
func describe[V, L any](version string, r *catalogue.Resource, up, down func(in, out api.Object) error) catalogue.Version {
	make := func() api.Object { return any(new(V)).(api.Object) }
	toHub := func(in api.Object) (api.Object, error) {
		out := r.New()
		return out, up(in, out)
	}
	fromHub := func(in api.Object) (api.Object, error) {
		out := make()
		return out, down(in.DeepCopyObject().(api.Object), out)
	}
	return catalogue.Version{
		Version: version,
		New:     make,

		Deprecated: deprecated(make(), schema.GroupVersionKind{Group: r.Group, Version: version, Kind: r.Kind}),

		NewList: func() runtime.Object { return any(new(L)).(runtime.Object) },
		ToHub:   toHub,
		FromHub: fromHub,
		Default: func(obj api.Object) {
			if r.Default == nil {
				return
			}
			hub, err := toHub(obj)
			if err != nil {
				return // whoever converts it next says so
			}
			r.Default(hub)
			if back, err := fromHub(hub); err == nil {
				back.GetObjectKind().SetGroupVersionKind(obj.GetObjectKind().GroupVersionKind())
				*any(obj).(*V) = *any(back).(*V)
			}
		},
	}
}

// deprecated is what upstream's types say of themselves.
func deprecated(obj api.Object, gvk schema.GroupVersionKind) string {
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	return deprecation.WarningMessage(obj)
}
