package noderestriction

import (
	"context"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	featuregatetesting "k8s.io/component-base/featuregate/testing"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/apiserver/admission"
	"clipper/apiserver/feature"
)

// nobody is allowed anything beyond what the plug-in finds itself.
var nobody = authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if a.GetVerb() == "request-serviceaccounts-token-audience" && a.GetResource() == "granted" {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
})

func TestNode(t *testing.T) {
	c := &apitest.Client{}
	c.Add(api.CSIDrivers.Resource, &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "disk"}, Spec: storagev1.CSIDriverSpec{TokenRequests: []storagev1.TokenRequest{{Audience: "cloud"}}}})
	c.Add(api.PersistentVolumes.Resource, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}, Spec: corev1.PersistentVolumeSpec{
		PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "disk"}}}})
	c.Add(api.PersistentVolumeClaims.Resource, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "pv"}})
	c.Add(api.Nodes.Resource, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "node"}})
	mine := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "mine", UID: "p1"}, Spec: corev1.PodSpec{NodeName: "n1",
		Volumes: []corev1.Volume{
			{VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}},
			{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{}}, {ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "vault"}}}}}}}}}
	theirs := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "theirs", UID: "p2"}, Spec: corev1.PodSpec{NodeName: "n2"}}
	lost := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "lost", UID: "p3"}, Spec: corev1.PodSpec{NodeName: "n1", Volumes: []corev1.Volume{
		{VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "gone"}}},
		{VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "d"}}}}}}
	moved := func(name string, v corev1.VolumeSource) *corev1.Pod { // a volume of a kind that a driver took over
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name)}, Spec: corev1.PodSpec{NodeName: "n1", Volumes: []corev1.Volume{{Name: "v", VolumeSource: v}}}}
	}
	c.Add(api.CSIDrivers.Resource, &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "file.csi.azure.com"}, Spec: storagev1.CSIDriverSpec{TokenRequests: []storagev1.TokenRequest{{Audience: "files"}}}})
	c.Add(api.PersistentVolumes.Resource, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "share"}, Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{
		AzureFile: &corev1.AzureFilePersistentVolumeSource{ShareName: "s", SecretName: "k", SecretNamespace: &mine.Namespace}}}})
	c.Add(api.PersistentVolumeClaims.Resource, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "share"}, Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "share"}})
	c.Add(api.Pods.Resource, mine, theirs, lost, moved("inline", corev1.VolumeSource{AzureFile: &corev1.AzureFileVolumeSource{ShareName: "s", SecretName: "k"}}),
		moved("claimed", corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "share"}}))
	yes := true
	mirror := func(change func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "m", Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "n1", UID: "node", Controller: &yes}}},
			Spec: corev1.PodSpec{NodeName: "n1"}}
		if change != nil {
			change(p)
		}
		return p
	}
	node := func(name string, labels map[string]string, taints ...corev1.Taint) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Spec: corev1.NodeSpec{Taints: taints}}
	}
	relabelled := mine.DeepCopy()
	relabelled.Labels = map[string]string{"a": "b"}
	token := func(pod, uid string, audiences ...string) *authenticationv1.TokenRequest {
		return &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences,
			BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod, UID: types.UID(uid)}}}
	}
	claim := func(change func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
		c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "data"}}
		if change != nil {
			change(c)
		}
		return c
	}
	const create, update, del = admission.Create, admission.Update, admission.Delete
	for _, tt := range []struct {
		name string
		op   admission.Operation
		r    api.Resource
		sub  string
		obj  api.Object
		old  api.Object
		on   string // name in the path, if there is no object
		err  string
	}{
		{"own status", update, api.Pods.Resource, "status", mine, mine, "", ""},
		{"another's status", update, api.Pods.Resource, "status", theirs, theirs, "", "can only update pod status for pods with spec.nodeName set to itself"},
		{"labels by way of status", update, api.Pods.Resource, "status", relabelled, mine, "", "cannot update labels through pod status"},
		{"pod itself", update, api.Pods.Resource, "", mine, mine, "", `unexpected operation "UPDATE", node "n1" can only create and delete mirror pods`},
		{"delete own", del, api.Pods.Resource, "", nil, mine, "mine", ""},
		{"delete another's", del, api.Pods.Resource, "", nil, theirs, "theirs", `node "n1" can only delete pods with spec.nodeName set to itself`},
		{"mirror pod", create, api.Pods.Resource, "", mirror(nil), nil, "", ""},
		{"ordinary pod", create, api.Pods.Resource, "", mirror(func(p *corev1.Pod) { p.Annotations = nil }), nil, "", "can only create mirror pods"},
		{"mirror pod elsewhere", create, api.Pods.Resource, "", mirror(func(p *corev1.Pod) { p.Spec.NodeName = "n2" }), nil, "", "spec.nodeName set to itself"},
		{"mirror pod of another", create, api.Pods.Resource, "", mirror(func(p *corev1.Pod) { p.OwnerReferences[0].Name = "n2" }), nil, "", "an owner reference set to itself"},
		{"mirror pod of a former node", create, api.Pods.Resource, "", mirror(func(p *corev1.Pod) { p.OwnerReferences[0].UID = "old" }), nil, "", "UID mismatch"},
		{"mirror pod with a secret", create, api.Pods.Resource, "", mirror(func(p *corev1.Pod) {
			p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "s"}}
		}), nil, "", "can not create pods that reference secrets"},
		{"a claim that grew", update, api.PersistentVolumeClaims.Resource, "status", claim(func(c *corev1.PersistentVolumeClaim) {
			c.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"} // as the pipeline hands it over
			c.Status.AllocatedResourceStatuses = map[corev1.ResourceName]corev1.ClaimResourceStatus{"storage": corev1.PersistentVolumeClaimNodeResizeInProgress}
		}), claim(nil), "", ""},
		{"another phase of a claim", update, api.PersistentVolumeClaims.Resource, "status", claim(func(c *corev1.PersistentVolumeClaim) { c.Status.Phase = corev1.ClaimLost }), claim(nil), "",
			"is not allowed to update fields other than status.quantity and status.conditions"},
		{"own node", create, api.Nodes.Resource, "", node("n1", map[string]string{"kubernetes.io/hostname": "n1", "zone": "a", "node.kubernetes.io/x": "y"}), nil, "", ""},
		{"another node", create, api.Nodes.Resource, "", node("n2", nil), nil, "", `node "n1" is not allowed to modify node "n2"`},
		{"a role label", create, api.Nodes.Resource, "", node("n1", map[string]string{"node-role.kubernetes.io/control-plane": ""}), nil, "",
			`node "n1" is not allowed to set the following labels: node-role.kubernetes.io/control-plane`},
		{"a restricted label", update, api.Nodes.Resource, "", node("n1", nil), node("n1", map[string]string{"x.node-restriction.kubernetes.io/a": "b"}), "",
			"is not allowed to modify labels: x.node-restriction.kubernetes.io/a"},
		{"a configuration of its own", create, api.Nodes.Resource, "", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Spec: corev1.NodeSpec{ConfigSource: &corev1.NodeConfigSource{}}}, nil, "",
			`node "n1" is not allowed to create pods with a non-nil configSource`},
		{"taints", update, api.Nodes.Resource, "", node("n1", nil), node("n1", nil, corev1.Taint{Key: "k"}), "", `node "n1" is not allowed to modify taints`},
		{"own token", create, api.ServiceAccounts.Resource, "token", token("mine", "p1"), nil, "robot", ""},
		{"own token, asked audience", create, api.ServiceAccounts.Resource, "token", token("mine", "p1", "vault"), nil, "robot", ""},
		{"own token, a driver's audience", create, api.ServiceAccounts.Resource, "token", token("mine", "p1", "cloud"), nil, "robot", ""},
		{"own token, audience of the driver of a volume that was once built in", create, api.ServiceAccounts.Resource, "token", token("inline", "inline", "files"), nil, "robot", ""},
		{"own token, audience of the driver of a persistent volume that was once built in", create, api.ServiceAccounts.Resource, "token", token("claimed", "claimed", "files"), nil, "robot", ""},
		{"own token, granted audience", create, api.ServiceAccounts.Resource, "token", token("mine", "p1", "granted"), nil, "robot", ""},
		{"own token, two audiences", create, api.ServiceAccounts.Resource, "token", token("mine", "p1", "vault", "cloud"), nil, "robot", "node may only request 0 or 1 audiences"},
		{"own token, other audience", create, api.ServiceAccounts.Resource, "token", token("mine", "p1", "bank"), nil, "robot", `audience "bank" not found in pod spec volume`},
		{"own token, volumes without claim or driver", create, api.ServiceAccounts.Resource, "token", token("lost", "p3", "bank"), nil, "robot",
			`error validating audience "bank": [persistentvolumeclaim "gone" not found, csidriver.storage.k8s.io "d" not found]`},
		{"token of another's pod", create, api.ServiceAccounts.Resource, "token", token("theirs", "p2"), nil, "robot", "scheduled on a different node"},
		{"unbound token", create, api.ServiceAccounts.Resource, "token", &authenticationv1.TokenRequest{}, nil, "robot", "not bound to a pod"},
		{"token without uid", create, api.ServiceAccounts.Resource, "token", token("mine", ""), nil, "robot", "without a uid"},
		{"another's lease", create, api.Leases.Resource, "", &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "n1"}}, nil, "", `can only access leases in the "kube-node-lease" system namespace`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := &admission.Attributes{Operation: tt.op, Resource: tt.r, Subresource: tt.sub, Namespace: "ns", Name: tt.on, Object: tt.obj, Old: tt.old,
				User: &user.DefaultInfo{Name: "system:node:n1", Groups: []string{"system:nodes"}}}
			if a.Name == "" {
				a.Name = tt.obj.GetName()
			}
			err := New(c, nobody).Admit(t.Context(), a)
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %v, want %q", err, tt.err)
			}
			a.User = &user.DefaultInfo{Name: "ann"}
			if err := New(c, nobody).Admit(t.Context(), a); err != nil {
				t.Errorf("a person: %v", err)
			}
		})
	}
}

// TestAnyAudience: without the feature a pod's token may be for whomever the node says.
func TestAnyAudience(t *testing.T) {
	feature.Enabled(feature.NodeAudienceRestriction) // makes it known
	featuregatetesting.SetFeatureGateDuringTest(t, feature.Gate, feature.NodeAudienceRestriction, false)
	c := &apitest.Client{}
	c.Add(api.Pods.Resource, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "mine", UID: "p1"}, Spec: corev1.PodSpec{NodeName: "n1"}})
	tr := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"a", "b"},
		BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "mine", UID: "p1"}}}
	err := New(c, nobody).Admit(t.Context(), &admission.Attributes{Operation: admission.Create, Resource: api.ServiceAccounts.Resource, Subresource: "token",
		Namespace: "ns", Name: "robot", Object: tr, User: &user.DefaultInfo{Name: "system:node:n1", Groups: []string{"system:nodes"}}})
	if err != nil {
		t.Error(err)
	}
}
