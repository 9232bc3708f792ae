package pipeline

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"clipper/apiserver/served"
)

// What a write to a subresource cannot change nobody comes to own by it; but for the resize and ephemeralcontainers of
// pods, whose writers come to own whatever they sent, as upstream.

// onlyStatus are kinds whose status subresource changes no metadata.
var onlyStatus = map[string]bool{
	"servicecidrs": true, "storageversionmigrations": true, "resourceclaims": true, "volumeattachments": true,
	"flowschemas": true, "prioritylevelconfigurations": true, "validatingadmissionpolicies": true,
	"podgroups": true, "devicetaintrules": true, "apiservices": true,
}

// resetPaths lists what a write to the subresource leaves as it was.
func resetPaths(k *served.Kind, subresource string) [][]any {
	switch csr := k.Name == "certificatesigningrequests"; {
	case subresource == "" && csr:
		return [][]any{{"spec"}, {"status"}}
	case subresource == "status" && csr:
		return [][]any{{"spec"}, {"status", "conditions"}}
	case subresource == "approval" && csr:
		return [][]any{{"spec"}, {"status", "certificate"}}
	case subresource == "" && k.Status != nil, subresource == "finalize":
		return [][]any{{"status"}}
	case subresource == "status" && k.Name == "pods":
		return [][]any{{"spec"}, {"metadata", "deletionTimestamp"}, {"metadata", "ownerReferences"}}
	case subresource == "status" && k.Name == "deployments":
		return [][]any{{"spec"}, {"metadata", "labels"}}
	case subresource == "status" && (onlyStatus[k.Name] || k.Custom != nil):
		return [][]any{{"spec"}, {"metadata"}}
	case subresource == "status":
		return [][]any{{"spec"}}
	}
	return nil
}

// resetFilter returns what a write to the subresource can come to own; nil: everything.
func resetFilter(k *served.Kind, subresource string) fieldpath.Filter {
	paths := resetPaths(k, subresource)
	if len(paths) == 0 {
		return nil
	}
	set := fieldpath.NewSet()
	for _, p := range paths {
		set.Insert(fieldpath.MakePathOrDie(p...))
	}
	return fieldpath.NewExcludeSetFilter(set)
}

// resetFields is the filter for every version of the kind. For a custom resource itself, not for its status, upstream
// thinks of the version alone that is written through: a PUT without a status takes that from who owns it in another.
func resetFields(k *served.Kind, subresource string) map[fieldpath.APIVersion]fieldpath.Filter {
	filter := resetFilter(k, subresource)
	if filter == nil {
		return nil
	}
	out := map[fieldpath.APIVersion]fieldpath.Filter{fieldpath.APIVersion(k.GVK.GroupVersion().String()): filter}
	if k.Custom != nil && subresource == "" {
		return out
	}
	out[fieldpath.APIVersion(k.Resource.GVK().GroupVersion().String())] = filter
	for _, v := range k.Also {
		gv := schema.GroupVersion{Group: k.Group, Version: v.Version}
		if v.Group != "" {
			gv.Group = v.Group
		}
		out[fieldpath.APIVersion(gv.String())] = filter
	}
	return out
}
