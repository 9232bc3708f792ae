// Package legacy knows what servers of earlier versions have stored, and what of it became what is stored now. It is
// for states that are taken over from a cluster that has been upgraded for years: objects that nobody has written
// since stay in the version of their time, and lack the defaults of fields that came later.
package legacy

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1beta1 "k8s.io/api/discovery/v1beta1"
	extensionsv1beta1 "k8s.io/api/extensions/v1beta1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/preview"
)

// An Upgrade turns an object that was stored at some time into what would be stored now. It may change obj.
type Upgrade = func(obj api.Object) (api.Object, error)

// renamed lists, by the storage version's group and kind, the versions whose protobuf form is the same: every field
// that both have bears the same number. The package's test compares them.
var renamed = map[schema.GroupKind][]schema.GroupVersion{
	{Group: "apps", Kind: "Deployment"}:                                               {apps1, apps2, extensions},
	{Group: "apps", Kind: "StatefulSet"}:                                              {apps1, apps2},
	{Group: "apps", Kind: "ControllerRevision"}:                                       {apps1, apps2},
	{Group: "apps", Kind: "DaemonSet"}:                                                {apps2, extensions},
	{Group: "apps", Kind: "ReplicaSet"}:                                               {apps2, extensions},
	{Group: "batch", Kind: "CronJob"}:                                                 {{Group: "batch", Version: "v1beta1"}},
	{Group: "certificates.k8s.io", Kind: "CertificateSigningRequest"}:                 {{Group: "certificates.k8s.io", Version: "v1beta1"}},
	{Group: "coordination.k8s.io", Kind: "Lease"}:                                     {{Group: "coordination.k8s.io", Version: "v1beta1"}},
	{Group: "networking.k8s.io", Kind: "NetworkPolicy"}:                               {extensions},
	{Group: "networking.k8s.io", Kind: "IngressClass"}:                                {networking},
	{Group: "node.k8s.io", Kind: "RuntimeClass"}:                                      {{Group: "node.k8s.io", Version: "v1beta1"}},
	{Group: "policy", Kind: "PodDisruptionBudget"}:                                    {{Group: "policy", Version: "v1beta1"}},
	{Group: "rbac.authorization.k8s.io", Kind: "Role"}:                                {rbac},
	{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"}:                         {rbac},
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}:                         {rbac},
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding"}:                  {rbac},
	{Group: "scheduling.k8s.io", Kind: "PriorityClass"}:                               {{Group: "scheduling.k8s.io", Version: "v1beta1"}},
	{Group: "storage.k8s.io", Kind: "StorageClass"}:                                   {storage},
	{Group: "storage.k8s.io", Kind: "VolumeAttachment"}:                               {storage},
	{Group: "storage.k8s.io", Kind: "CSIDriver"}:                                      {storage},
	{Group: "storage.k8s.io", Kind: "CSINode"}:                                        {storage},
	{Group: "storage.k8s.io", Kind: "CSIStorageCapacity"}:                             {storage},
	{Group: "flowcontrol.apiserver.k8s.io", Kind: "FlowSchema"}:                       flow,
	{Group: "flowcontrol.apiserver.k8s.io", Kind: "PriorityLevelConfiguration"}:       flow,
	{Group: "admissionregistration.k8s.io", Kind: "MutatingWebhookConfiguration"}:     {admission},
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingWebhookConfiguration"}:   {admission},
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingAdmissionPolicy"}:        {admission},
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingAdmissionPolicyBinding"}: {admission},
}

// meaning mends, after that, what the same form meant otherwise.
var meaning = map[schema.GroupKind]Upgrade{{Group: "policy", Kind: "PodDisruptionBudget"}: budget}

var (
	apps1      = schema.GroupVersion{Group: "apps", Version: "v1beta1"}
	apps2      = schema.GroupVersion{Group: "apps", Version: "v1beta2"}
	extensions = extensionsv1beta1.SchemeGroupVersion
	networking = networkingv1beta1.SchemeGroupVersion
	rbac       = schema.GroupVersion{Group: "rbac.authorization.k8s.io", Version: "v1beta1"}
	storage    = schema.GroupVersion{Group: "storage.k8s.io", Version: "v1beta1"}
	admission  = schema.GroupVersion{Group: "admissionregistration.k8s.io", Version: "v1beta1"}
	flow       = []schema.GroupVersion{
		{Group: "flowcontrol.apiserver.k8s.io", Version: "v1beta1"},
		{Group: "flowcontrol.apiserver.k8s.io", Version: "v1beta2"},
		{Group: "flowcontrol.apiserver.k8s.io", Version: "v1beta3"},
	}
)

// Upgrades returns what to do with every kind that may be found in a state, the present ones among them. primary is the
// IP family of services that do not say.
func Upgrades(resources []*catalogue.Resource, primary corev1.IPFamily) map[schema.GroupVersionKind]Upgrade {
	out := map[schema.GroupVersionKind]Upgrade{}
	for _, r := range resources {
		if r.Prefix == "" {
			continue
		}
		now := chain(defaulted(r.Default), defaulted(r.Canonicalize))
		if r.Kind == "Service" {
			now = chain(now, service(primary))
		}
		for _, gv := range renamed[r.GVK().GroupKind()] {
			out[gv.WithKind(r.Kind)] = chain(rewritten(r.New), meaning[r.GVK().GroupKind()], now)
		}
		for _, v := range slices.Concat(r.Also, preview.Of(r)) {
			gvk := r.GVK()
			gvk.Version = v.Version
			if v.Group != "" {
				gvk.Group = v.Group
			}
			out[gvk] = chain(defaulted(v.Default), v.ToHub, now)
		}
		switch r.Kind {
		case "Ingress":
			out[extensions.WithKind(r.Kind)] = chain(ingress, now)
			out[networking.WithKind(r.Kind)] = chain(ingress, now)
		case "EndpointSlice":
			out[discoveryv1beta1.SchemeGroupVersion.WithKind(r.Kind)] = chain(endpointSlice, now)
		}
		out[r.GVK()] = now
	}
	return out
}

func defaulted(fn func(api.Object)) Upgrade {
	return func(obj api.Object) (api.Object, error) {
		if fn != nil {
			fn(obj)
		}
		return obj, nil
	}
}

func chain(steps ...Upgrade) Upgrade {
	return func(obj api.Object) (api.Object, error) {
		for _, step := range steps {
			if step == nil {
				continue
			}
			var err error
			if obj, err = step(obj); err != nil {
				return nil, err
			}
		}
		return obj, nil
	}
}

// message is what the types of k8s.io/api implement.
type message interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// rewritten reads the protobuf form of one type as another.
func rewritten(empty func() api.Object) Upgrade {
	return func(obj api.Object) (api.Object, error) {
		data, err := obj.(message).Marshal()
		if err != nil {
			return nil, err
		}
		out := empty()
		return out, out.(message).Unmarshal(data)
	}
}
