package api

import (
	"context"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The kinds that Clipper's own parts work with. The catalogue has them all.
var (
	Pods                   = kind[*corev1.Pod]("", "v1", "pods", "Pod", true)
	Nodes                  = kind[*corev1.Node]("", "v1", "nodes", "Node", false)
	Services               = kind[*corev1.Service]("", "v1", "services", "Service", true)
	Endpoints              = kind[*corev1.Endpoints]("", "v1", "endpoints", "Endpoints", true)
	Namespaces             = kind[*corev1.Namespace]("", "v1", "namespaces", "Namespace", false)
	ConfigMaps             = kind[*corev1.ConfigMap]("", "v1", "configmaps", "ConfigMap", true)
	Secrets                = kind[*corev1.Secret]("", "v1", "secrets", "Secret", true)
	ServiceAccounts        = kind[*corev1.ServiceAccount]("", "v1", "serviceaccounts", "ServiceAccount", true)
	CoreEvents             = kind[*corev1.Event]("", "v1", "events", "Event", true)
	PersistentVolumes      = kind[*corev1.PersistentVolume]("", "v1", "persistentvolumes", "PersistentVolume", false)
	PersistentVolumeClaims = kind[*corev1.PersistentVolumeClaim]("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", true)
	LimitRanges            = kind[*corev1.LimitRange]("", "v1", "limitranges", "LimitRange", true)
	ResourceQuotas         = kind[*corev1.ResourceQuota]("", "v1", "resourcequotas", "ResourceQuota", true)
	ReplicationControllers = kind[*corev1.ReplicationController]("", "v1", "replicationcontrollers", "ReplicationController", true)
	Deployments            = kind[*appsv1.Deployment]("apps", "v1", "deployments", "Deployment", true)
	ReplicaSets            = kind[*appsv1.ReplicaSet]("apps", "v1", "replicasets", "ReplicaSet", true)
	StatefulSets           = kind[*appsv1.StatefulSet]("apps", "v1", "statefulsets", "StatefulSet", true)
	DaemonSets             = kind[*appsv1.DaemonSet]("apps", "v1", "daemonsets", "DaemonSet", true)
	ControllerRevisions    = kind[*appsv1.ControllerRevision]("apps", "v1", "controllerrevisions", "ControllerRevision", true)
	Jobs                   = kind[*batchv1.Job]("batch", "v1", "jobs", "Job", true)
	CronJobs               = kind[*batchv1.CronJob]("batch", "v1", "cronjobs", "CronJob", true)
	EndpointSlices         = kind[*discoveryv1.EndpointSlice]("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", true)
	ServiceCIDRs           = kind[*networkingv1.ServiceCIDR]("networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR", false)
	IPAddresses            = kind[*networkingv1.IPAddress]("networking.k8s.io", "v1", "ipaddresses", "IPAddress", false)
	Leases                 = kind[*coordinationv1.Lease]("coordination.k8s.io", "v1", "leases", "Lease", true)
	StorageClasses         = kind[*storagev1.StorageClass]("storage.k8s.io", "v1", "storageclasses", "StorageClass", false)
	PriorityClasses        = kind[*schedulingv1.PriorityClass]("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", false)
	PodDisruptionBudgets   = kind[*policyv1.PodDisruptionBudget]("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", true)
	Roles                  = kind[*rbacv1.Role]("rbac.authorization.k8s.io", "v1", "roles", "Role", true)
	RoleBindings           = kind[*rbacv1.RoleBinding]("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", true)
	ClusterRoles           = kind[*rbacv1.ClusterRole]("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", false)
	ClusterRoleBindings    = kind[*rbacv1.ClusterRoleBinding]("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", false)

	CertificateSigningRequests        = kind[*certificatesv1.CertificateSigningRequest]("certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest", false)
	RuntimeClasses                    = kind[*nodev1.RuntimeClass]("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", false)
	IngressClasses                    = kind[*networkingv1.IngressClass]("networking.k8s.io", "v1", "ingressclasses", "IngressClass", false)
	MutatingWebhookConfigurations     = kind[*admissionregistrationv1.MutatingWebhookConfiguration]("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", false)
	ValidatingWebhookConfigurations   = kind[*admissionregistrationv1.ValidatingWebhookConfiguration]("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", false)
	ValidatingAdmissionPolicies       = kind[*admissionregistrationv1.ValidatingAdmissionPolicy]("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", false)
	ValidatingAdmissionPolicyBindings = kind[*admissionregistrationv1.ValidatingAdmissionPolicyBinding]("admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", false)
	MutatingAdmissionPolicies         = kind[*admissionregistrationv1.MutatingAdmissionPolicy]("admissionregistration.k8s.io", "v1", "mutatingadmissionpolicies", "MutatingAdmissionPolicy", false)
	MutatingAdmissionPolicyBindings   = kind[*admissionregistrationv1.MutatingAdmissionPolicyBinding]("admissionregistration.k8s.io", "v1", "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", false)
	FlowSchemas                       = kind[*flowcontrolv1.FlowSchema]("flowcontrol.apiserver.k8s.io", "v1", "flowschemas", "FlowSchema", false)
	PriorityLevelConfigurations       = kind[*flowcontrolv1.PriorityLevelConfiguration]("flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations", "PriorityLevelConfiguration", false)
	ResourceSlices                    = kind[*resourcev1.ResourceSlice]("resource.k8s.io", "v1", "resourceslices", "ResourceSlice", false)
	ResourceClaims                    = kind[*resourcev1.ResourceClaim]("resource.k8s.io", "v1", "resourceclaims", "ResourceClaim", true)
	ResourceClaimTemplates            = kind[*resourcev1.ResourceClaimTemplate]("resource.k8s.io", "v1", "resourceclaimtemplates", "ResourceClaimTemplate", true)
	CSIDrivers                        = kind[*storagev1.CSIDriver]("storage.k8s.io", "v1", "csidrivers", "CSIDriver", false)
	VolumeAttributesClasses           = kind[*storagev1.VolumeAttributesClass]("storage.k8s.io", "v1", "volumeattributesclasses", "VolumeAttributesClass", false)
	CSINodes                          = kind[*storagev1.CSINode]("storage.k8s.io", "v1", "csinodes", "CSINode", false)
	VolumeAttachments                 = kind[*storagev1.VolumeAttachment]("storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment", false)
)

// A Kind is a Resource whose Go type is known: the typed face of Client.
type Kind[T Object] struct{ Resource }

func kind[T Object](group, version, name, k string, namespaced bool) Kind[T] {
	return Kind[T]{Resource{Group: group, Version: version, Name: name, Kind: k, Namespaced: namespaced}}
}

// Get reads the latest committed state from the server.
func (k Kind[T]) Get(ctx context.Context, c Client, namespace, name string) (T, error) {
	return typed[T](c.Get(ctx, k.Resource, namespace, name))
}

// List reads all objects of a namespace, or of all with "", from the server.
func (k Kind[T]) List(ctx context.Context, c Client, namespace string, o metav1.ListOptions) ([]T, error) {
	objects, _, err := c.List(ctx, k.Resource, namespace, o)
	return typedSlice[T](objects), err
}

// Create stores a new object and returns it as committed.
func (k Kind[T]) Create(ctx context.Context, c Client, obj T) (T, error) {
	return typed[T](c.Create(ctx, k.Resource, obj, metav1.CreateOptions{}))
}

// Update replaces an object. Its resourceVersion, if set, is a precondition.
func (k Kind[T]) Update(ctx context.Context, c Client, obj T) (T, error) {
	return typed[T](c.Update(ctx, k.Resource, "", obj, metav1.UpdateOptions{}))
}

// UpdateStatus replaces an object's status and nothing else.
func (k Kind[T]) UpdateStatus(ctx context.Context, c Client, obj T) (T, error) {
	return typed[T](c.Update(ctx, k.Resource, "status", obj, metav1.UpdateOptions{}))
}

// Patch applies a patch of the given type.
func (k Kind[T]) Patch(ctx context.Context, c Client, namespace, name, subresource string, pt types.PatchType, data []byte) (T, error) {
	return typed[T](c.Patch(ctx, k.Resource, namespace, name, subresource, pt, data, metav1.PatchOptions{}))
}

// Delete removes an object, or starts its graceful deletion.
func (k Kind[T]) Delete(ctx context.Context, c Client, namespace, name string, o metav1.DeleteOptions) error {
	return c.Delete(ctx, k.Resource, namespace, name, o)
}

// DeleteThis is Delete for an object as it was seen: one of the same name that has come in its place stays, and the answer
// is a conflict. o has no preconditions of its own.
func (k Kind[T]) DeleteThis(ctx context.Context, c Client, seen T, o metav1.DeleteOptions) error {
	uid := seen.GetUID()
	o.Preconditions = &metav1.Preconditions{UID: &uid}
	return k.Delete(ctx, c, seen.GetNamespace(), seen.GetName(), o)
}

// Mutate changes an object (subresource "" or "status") with fn, which gets a private copy of the latest
// state and says whether it changed anything. A conflict is answered with a fresh copy, at most ten times.
func (k Kind[T]) Mutate(ctx context.Context, c Client, namespace, name, subresource string, fn func(T) (changed bool, err error)) (T, error) {
	const attempts = 10
	var zero T
	for i := 0; ; i++ {
		latest, err := k.Get(ctx, c, namespace, name)
		if err != nil {
			return zero, err
		}
		next := latest.DeepCopyObject().(T)
		changed, err := fn(next)
		if err != nil || !changed {
			return latest, err
		}
		updated, err := c.Update(ctx, k.Resource, subresource, next, metav1.UpdateOptions{})
		if err == nil || !apierrors.IsConflict(err) || i+1 == attempts {
			return typed[T](updated, err)
		}
	}
}

// View returns the typed live view of k.
func (k Kind[T]) View(c Client) TypedView[T] { return TypedView[T]{c.View(k.Resource)} }

// A TypedView is a View of one Go type.
type TypedView[T Object] struct{ View }

// Get returns the object, or the zero T and false.
func (v TypedView[T]) Get(namespace, name string) (T, bool) {
	o, ok := v.View.Get(namespace, name)
	if !ok {
		var zero T
		return zero, false
	}
	return o.(T), true
}

// List returns the objects of a namespace, or of all with "".
func (v TypedView[T]) List(namespace string) []T { return typedSlice[T](v.View.List(namespace)) }

// ByIndex returns the objects that ix files under value.
func (v TypedView[T]) ByIndex(ix Index, value string) []T {
	return typedSlice[T](v.View.ByIndex(ix, value))
}

func typed[T Object](o Object, err error) (T, error) {
	if err != nil || o == nil {
		var zero T
		return zero, err
	}
	return o.(T), nil
}

func typedSlice[T Object](in []Object) []T {
	out := make([]T, len(in))
	for i, o := range in {
		out[i] = o.(T)
	}
	return out
}
