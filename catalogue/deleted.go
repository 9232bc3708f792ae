package catalogue

import "k8s.io/apimachinery/pkg/runtime/schema"

// ReturnsDeleted says whether an object that is deleted at once is the answer, rather than a Status.
func ReturnsDeleted(r schema.GroupResource) bool { return returnsDeleted[r] }

var returnsDeleted = map[schema.GroupResource]bool{
	{Resource: "pods"}:                                             true,
	{Resource: "podtemplates"}:                                     true,
	{Resource: "persistentvolumes"}:                                true,
	{Resource: "persistentvolumeclaims"}:                           true,
	{Resource: "resourcequotas"}:                                   true,
	{Resource: "services"}:                                         true,
	{Resource: "serviceaccounts"}:                                  true,
	{Group: "storage.k8s.io", Resource: "storageclasses"}:          true,
	{Group: "storage.k8s.io", Resource: "volumeattachments"}:       true,
	{Group: "storage.k8s.io", Resource: "csinodes"}:                true,
	{Group: "storage.k8s.io", Resource: "csidrivers"}:              true,
	{Group: "storage.k8s.io", Resource: "volumeattributesclasses"}: true,
	{Group: "resource.k8s.io", Resource: "resourceclaims"}:         true,
	{Group: "resource.k8s.io", Resource: "resourceclaimtemplates"}: true,
	{Group: "resource.k8s.io", Resource: "deviceclasses"}:          true,
	{Group: "resource.k8s.io", Resource: "resourceslices"}:         true,
}
