package claimaccess

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/apiserver/admission"
)

// rights are what somebody may, as "verb subresource namespace/name".
type rights []string

func (r rights) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	asked := a.GetVerb() + " " + a.GetResource() + "/" + a.GetSubresource() + " " + a.GetNamespace() + "/" + a.GetName()
	for _, may := range r {
		if may == asked {
			return authorizer.DecisionAllow, "", nil
		}
	}
	return authorizer.DecisionNoOpinion, "no rule", nil
}

func allocated(node string, admin bool, devices ...resourcev1.AllocatedDeviceStatus) resourcev1.ResourceClaimStatus {
	s := resourcev1.ResourceClaimStatus{Devices: devices, Allocation: &resourcev1.AllocationResult{NodeSelector: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{node}}}}}}}}
	if admin {
		s.Allocation.Devices.Results = []resourcev1.DeviceRequestAllocationResult{{AdminAccess: &admin}}
	}
	return s
}

func TestStatus(t *testing.T) {
	c := &apitest.Client{}
	c.Add(api.Namespaces.Resource, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns"}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "admin", Labels: map[string]string{resourcev1.DRAAdminNamespaceLabelKey: "true"}}})
	pod := &user.DefaultInfo{Name: "system:serviceaccount:ns:driver", Extra: map[string][]string{"authentication.kubernetes.io/node-name": {"n1"}}}
	ann := &user.DefaultInfo{Name: "ann"}
	gpu, nic := resourcev1.AllocatedDeviceStatus{Driver: "gpu", Pool: "p", Device: "d"}, resourcev1.AllocatedDeviceStatus{Driver: "nic", Pool: "p", Device: "d"}
	const bind, gpuHere, gpuAnywhere = "update resourceclaims/binding /", "associated-node:update resourceclaims/driver ns/gpu", "arbitrary-node:update resourceclaims/driver ns/gpu"
	none := resourcev1.ResourceClaimStatus{}
	for _, tt := range []struct {
		name      string
		namespace string
		user      user.Info
		may       rights
		options   runtime.Object
		old, now  resourcev1.ResourceClaimStatus
		err       string
	}{
		{"nothing", "ns", ann, nil, nil, none, none, ""},
		{"allocation", "ns", ann, nil, nil, none, allocated("n1", false),
			`status.allocation: Forbidden: changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="update" permission: resourceclaims.resource.k8s.io is forbidden: ` +
				`User "ann" cannot update resource "resourceclaims/binding" in API group "resource.k8s.io" at the cluster scope: no rule`},
		{"allocation by who may", "ns", ann, rights{bind}, nil, none, allocated("n1", false), ""},
		{"allocation by patch", "ns", ann, rights{bind}, &metav1.PatchOptions{}, none, allocated("n1", false), `verb="patch"`},
		{"allocation by a scheduler that may not", "ns", &user.DefaultInfo{Name: "system:kube-scheduler"}, nil, nil, none, allocated("n1", false), "status.allocation: Forbidden"},
		{"release", "ns", ann, nil, nil, allocated("n1", false, gpu), none, "status.allocation: Forbidden"},
		{"reservation", "ns", ann, nil, nil, allocated("n1", false), func() resourcev1.ResourceClaimStatus {
			s := allocated("n1", false)
			s.ReservedFor = []resourcev1.ResourceClaimConsumerReference{{Resource: "pods", Name: "p"}}
			return s
		}(), "status.allocation: Forbidden"},
		{"device", "ns", pod, nil, nil, allocated("n1", false), allocated("n1", false, gpu), `verb="[associated-node:update arbitrary-node:update]"`},
		{"device on the own node", "ns", pod, rights{gpuHere}, nil, allocated("n1", false), allocated("n1", false, gpu), ""},
		{"device on any node", "ns", pod, rights{gpuAnywhere}, nil, allocated("n1", false), allocated("n1", false, gpu), ""},
		{"device on another node", "ns", pod, rights{gpuHere}, nil, allocated("n2", false), allocated("n2", false, gpu), `verb="[arbitrary-node:update]"`},
		{"device by no service account", "ns", &user.DefaultInfo{Name: "ann", Extra: pod.Extra}, rights{gpuHere}, nil, allocated("n1", false), allocated("n1", false, gpu), `verb="[arbitrary-node:update]"`},
		{"device of another driver", "ns", pod, rights{gpuHere}, nil, allocated("n1", false, gpu), allocated("n1", false, gpu, nic), `cannot associated-node:update resource "resourceclaims/driver"`},
		{"device that is gone", "ns", pod, nil, nil, allocated("n1", false, gpu), allocated("n1", false), "status.devices: Forbidden"},
		{"other devices stay", "ns", pod, rights{gpuHere}, nil, allocated("n1", false, nic), allocated("n1", false, gpu, nic), ""},
		{"administrators' access", "ns", ann, rights{bind}, nil, none, allocated("n1", true), "status.allocation.devices.results[0].adminAccess: Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace"},
		{"administrators' access where it may be", "admin", ann, rights{bind}, nil, none, allocated("n1", true), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := New(c, api.ResourceClaims.Resource, tt.may).Faults(t.Context(), &admission.Attributes{Operation: admission.Update, Resource: api.ResourceClaims.Resource, Subresource: "status", Namespace: tt.namespace, Name: "c",
				User: tt.user, Options: tt.options, Object: &resourcev1.ResourceClaim{Status: tt.now}, Old: &resourcev1.ResourceClaim{Status: tt.old}}).ToAggregate()
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %v, want %q", err, tt.err)
			}
		})
	}
}

func TestAdminAccess(t *testing.T) {
	c := &apitest.Client{}
	c.Add(api.Namespaces.Resource, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns"}})
	yes := true
	spec := resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{}, {Exactly: &resourcev1.ExactDeviceRequest{AdminAccess: &yes}}}}}
	for resource, obj := range map[api.Resource]api.Object{api.ResourceClaims.Resource: &resourcev1.ResourceClaim{Spec: spec},
		api.ResourceClaimTemplates.Resource: &resourcev1.ResourceClaimTemplate{Spec: resourcev1.ResourceClaimTemplateSpec{Spec: spec}}} {
		for namespace, want := range map[string]string{"ns": "spec.devices.requests[1].adminAccess: Forbidden", "gone": "could not retrieve namespace"} {
			err := New(c, resource, rights{}).Faults(t.Context(), &admission.Attributes{Operation: admission.Create, Resource: resource, Namespace: namespace, Object: obj}).ToAggregate()
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%T in %s: %v", obj, namespace, err)
			}
		}
	}
}
