// Package noderestriction keeps the kubelet of a node to its own: its Node object, its lease, the status of
// its pods, mirror pods of its manifests, tokens of its pods' service accounts. A node that has been taken
// over must not be able to touch another.
package noderestriction

import (
	"context"
	"crypto/x509"
	"fmt"
	"maps"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"clipper/api"
	"clipper/api/podrefs"
	"clipper/apiserver/admission"
	"clipper/apiserver/admission/certificates"
	"clipper/apiserver/authz"
)

// A Plugin is the admission plug-in.
type Plugin struct {
	pods    api.TypedView[*corev1.Pod]
	nodes   api.TypedView[*corev1.Node]
	claims  api.TypedView[*corev1.PersistentVolumeClaim]
	volumes api.TypedView[*corev1.PersistentVolume]
	drivers api.TypedView[*storagev1.CSIDriver]
	authz   authorizer.Authorizer
}

// New returns the plug-in over the objects that c sees.
func New(c api.Client, az authorizer.Authorizer) *Plugin {
	return &Plugin{pods: api.Pods.View(c), nodes: api.Nodes.View(c), claims: api.PersistentVolumeClaims.View(c),
		volumes: api.PersistentVolumes.View(c), drivers: api.CSIDrivers.View(c), authz: az}
}

// A request is one write by a node.
type request struct {
	*Plugin
	*admission.Attributes
	node string
}

// Admit refuses what is not the node's own. It has nothing to say about other users, and changes nothing;
// as upstream it comes before what validates, so that a node learns nothing from faults of others' objects.
func (p *Plugin) Admit(ctx context.Context, a *admission.Attributes) error {
	node, isNode := authz.NodeName(a.User)
	if !isNode {
		return nil
	}
	if node == "" {
		return a.Forbiddenf("could not determine node from user %q", a.User.GetName())
	}
	r := &request{p, a, node}
	switch gr := a.Resource.GroupResource(); {
	case gr == api.Pods.GroupResource():
		return r.pod()
	case gr == api.Nodes.GroupResource():
		return r.nodeObject()
	case gr == api.PersistentVolumeClaims.GroupResource():
		return r.claim()
	case gr == api.ServiceAccounts.GroupResource() && a.Subresource == "token":
		return r.token(ctx)
	case gr == api.Leases.GroupResource():
		return r.lease()
	case gr.Group == "storage.k8s.io" && gr.Resource == "csinodes":
		if r.name() != node {
			return a.Forbiddenf("can only access CSINode with the same name as the requesting node")
		}
	case gr.Group == "resource.k8s.io" && gr.Resource == "resourceslices":
		return r.slice()
	case gr == api.CertificateSigningRequests.GroupResource():
		return r.signingRequest()
	}
	return nil
}

// name is that of the object: a create has none in its path.
func (r *request) name() string {
	if r.Operation == admission.Create {
		return r.Object.GetName()
	}
	return r.Name
}

func (r *request) pod() error {
	switch r.Subresource {
	case "":
		switch r.Operation {
		case admission.Create:
			return r.createPod(r.Object.(*corev1.Pod))
		case admission.Delete:
			return r.ownPod("node %q can only delete pods with spec.nodeName set to itself")
		}
		return r.Forbiddenf("unexpected operation %q, node %q can only create and delete mirror pods", r.Operation, r.node)
	case "status":
		return r.podStatus()
	case "eviction":
		return r.ownPod("node %s can only evict pods with spec.nodeName set to itself")
	}
	return r.Forbiddenf("unexpected pod subresource %q, only 'status' and 'eviction' are allowed", r.Subresource)
}

// ownPod refuses if the stored pod is another node's. One that is not there is for the verb to report.
func (r *request) ownPod(format string) error {
	pod, ok := r.pods.Get(r.Namespace, r.Name)
	if ok && pod.Spec.NodeName != r.node {
		return r.Forbiddenf(format, r.node)
	}
	return nil
}

func (r *request) podStatus() error {
	if r.Operation != admission.Update {
		return r.Forbiddenf("unexpected operation %q", r.Operation)
	}
	pod, old := r.Object.(*corev1.Pod), r.Old.(*corev1.Pod)
	switch {
	case old.Spec.NodeName != r.node:
		return r.Forbiddenf("node %q can only update pod status for pods with spec.nodeName set to itself", r.node)
	case !maps.Equal(pod.Labels, old.Labels):
		return r.Forbiddenf("node %q cannot update labels through pod status", r.node)
	case !equality.Semantic.DeepEqual(pod.Status.ResourceClaimStatuses, old.Status.ResourceClaimStatuses):
		return r.Forbiddenf("node %q cannot update resource claim statues", r.node)
	case !equality.Semantic.DeepEqual(pod.Status.ExtendedResourceClaimStatus, old.Status.ExtendedResourceClaimStatus):
		return r.Forbiddenf("node %q cannot update extended resource claim status", r.node)
	}
	return nil
}

// createPod lets a node show the pods of its manifests, and nothing that reaches for other objects.
func (r *request) createPod(pod *corev1.Pod) error {
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; !mirror {
		return r.Forbiddenf("pod does not have %q annotation, node %q can only create mirror pods", corev1.MirrorPodAnnotationKey, r.node)
	}
	if pod.Spec.NodeName != r.node {
		return r.Forbiddenf("node %q can only create pods with spec.nodeName set to itself", r.node)
	}
	if err := r.mirrorOwner(pod); err != nil {
		return err
	}
	if what := podrefs.First(&pod.Spec); what != "" {
		return r.Forbiddenf("node %q can not create pods that reference %s", r.node, what)
	}
	return nil
}

func (r *request) mirrorOwner(pod *corev1.Pod) error {
	switch len(pod.OwnerReferences) {
	case 0:
		return r.Forbiddenf("node %q can only create pods with an owner reference set to itself", r.node)
	case 1:
	default:
		return r.Forbiddenf("node %q can only create pods with a single owner reference set to itself", r.node)
	}
	owner := pod.OwnerReferences[0]
	if owner.APIVersion != "v1" || owner.Kind != "Node" || owner.Name != r.node {
		return r.Forbiddenf("node %q can only create pods with an owner reference set to itself", r.node)
	}
	if owner.Controller == nil || !*owner.Controller {
		return r.Forbiddenf("node %q can only create pods with a controller owner reference set to itself", r.node)
	}
	if owner.BlockOwnerDeletion != nil && *owner.BlockOwnerDeletion {
		return r.Forbiddenf("node %q must not set blockOwnerDeletion on an owner reference", r.node)
	}
	node, ok := r.nodes.Get("", r.node)
	if !ok {
		return r.Forbiddenf("error looking up node %s to verify uid: %w", r.node, apierrors.NewNotFound(api.Nodes.GroupResource(), r.node))
	}
	if owner.UID != node.UID {
		return r.Forbiddenf("node %s UID mismatch: expected %s got %s", r.node, owner.UID, node.UID)
	}
	return nil
}

// claim: a node reports what became of a claim that grew, and changes nothing else of it.
func (r *request) claim() error {
	if r.Subresource != "status" {
		return r.Forbiddenf("may only update PVC status")
	}
	if r.Operation != admission.Update {
		return r.Forbiddenf("unexpected operation %q", r.Operation)
	}
	next, old := r.Object.(*corev1.PersistentVolumeClaim).DeepCopy(), r.Old.(*corev1.PersistentVolumeClaim).DeepCopy()
	for _, c := range []*corev1.PersistentVolumeClaim{next, old} {
		c.Status.Capacity, c.Status.Conditions, c.Status.AllocatedResources, c.Status.AllocatedResourceStatuses = nil, nil, nil, nil
		c.ResourceVersion, c.ManagedFields, c.TypeMeta = "", nil, metav1.TypeMeta{} // a kind may be written on one of them only
	}
	if !equality.Semantic.DeepEqual(next, old) {
		return r.Forbiddenf("node %q is not allowed to update fields other than status.quantity and status.conditions", r.node)
	}
	return nil
}

// token: only tokens that die with a pod of this node, for audiences that the pod asks for.
func (r *request) token(ctx context.Context) error {
	tr, ok := r.Object.(*authenticationv1.TokenRequest)
	if !ok {
		return nil
	}
	ref := tr.Spec.BoundObjectRef
	if ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "" {
		return r.Forbiddenf("node requested token not bound to a pod")
	}
	if ref.UID == "" {
		return r.Forbiddenf("node requested token with a pod binding without a uid")
	}
	pod, ok := r.pods.Get(r.Namespace, ref.Name)
	if !ok {
		return apierrors.NewNotFound(api.Pods.GroupResource(), ref.Name)
	}
	if pod.UID != ref.UID {
		return r.Forbiddenf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID)
	}
	if pod.Spec.NodeName != r.node {
		return r.Forbiddenf("node requested token bound to a pod scheduled on a different node")
	}
	return r.audience(ctx, tr, pod)
}

func (r *request) lease() error {
	if r.Namespace != corev1.NamespaceNodeLease {
		return r.Forbiddenf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	}
	if r.name() != r.node {
		return r.Forbiddenf("can only access node lease with the same name as the requesting node")
	}
	return nil
}

// slice: a node describes its own devices.
func (r *request) slice() error {
	ours := func(o api.Object) bool {
		s, ok := o.(*resourcev1.ResourceSlice)
		return ok && s.Spec.NodeName != nil && *s.Spec.NodeName == r.node
	}
	switch {
	case r.Operation == admission.Create && !ours(r.Object):
		return r.Forbiddenf("can only create ResourceSlice with the same NodeName as the requesting node")
	case r.Operation == admission.Delete && r.Old != nil && !ours(r.Old):
		return r.Forbiddenf("can only delete ResourceSlice with the same NodeName as the requesting node")
	}
	return nil
}

// signingRequest: a node asks for certificates in its own name only.
func (r *request) signingRequest() error {
	if r.Operation != admission.Create {
		return nil
	}
	csr, ok := r.Object.(*certificatesv1.CertificateSigningRequest)
	if !ok || csr.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName && csr.Spec.SignerName != certificatesv1.KubeletServingSignerName {
		return nil
	}
	var req *x509.CertificateRequest
	req, err := certificates.ParseRequest(csr.Spec.Request)
	if err != nil {
		return r.Forbidden(fmt.Errorf("unable to parse csr: %w", err))
	}
	if want := r.User.GetName(); req.Subject.CommonName != want {
		return r.Forbiddenf("can only create a node CSR with CN=%s", want)
	}
	return nil
}
