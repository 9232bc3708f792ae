package authz

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"clipper/api"
	"clipper/api/apitest"
)

func rules(rr ...rbacv1.PolicyRule) []rbacv1.PolicyRule { return rr }

func rule(verbs, groups, resources string, names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: strings.Split(verbs, ","), APIGroups: strings.Split(groups, ","),
		Resources: strings.Split(resources, ","), ResourceNames: names}
}

func world() *apitest.Client {
	c := &apitest.Client{}
	c.Add(api.ClusterRoles.Resource,
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "reader"}, Rules: rules(rule("get,list", "", "pods,pods/log"),
			rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/healthz", "/api/*"}})},
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "scaler"}, Rules: rules(rule("update", "*", "*/scale"))})
	c.Add(api.Roles.Resource, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "one-secret"},
		Rules: rules(rule("get", "", "secrets", "key"))})
	group := func(n string) rbacv1.Subject { return rbacv1.Subject{Kind: "Group", Name: n} }
	c.Add(api.ClusterRoleBindings.Resource,
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "readers"},
			RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "reader"}, Subjects: []rbacv1.Subject{group("devs")}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "dangling"},
			RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "lost"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "eve"}}})
	c.Add(api.RoleBindings.Resource,
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "keys"},
			RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "one-secret"}, Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "robot"}}},
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "scale"},
			RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "scaler"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "bob"}}})
	return c
}

func ask(u, verb, group, resource, sub, ns, name string) authorizer.AttributesRecord {
	who := &user.DefaultInfo{Name: u}
	if n, g, ok := strings.Cut(u, "/"); ok {
		who = &user.DefaultInfo{Name: n, Groups: strings.Split(g, ",")}
	}
	return authorizer.AttributesRecord{User: who, Verb: verb, APIGroup: group, Resource: resource, Subresource: sub,
		Namespace: ns, Name: name, ResourceRequest: true}
}

func url(u, path string) authorizer.AttributesRecord {
	a := ask(u, "get", "", "", "", "", "")
	a.ResourceRequest, a.Path = false, path
	return a
}

func TestAuthorize(t *testing.T) {
	a := New(world())
	for _, tt := range []struct {
		name   string
		attrs  authorizer.AttributesRecord
		allow  bool
		reason string
	}{
		{"masters", ask("x/system:masters", "delete", "", "nodes", "", "", "n"), true, ""},
		{"by group", ask("ann/devs", "list", "", "pods", "", "a", ""), true,
			`RBAC: allowed by ClusterRoleBinding "readers" of ClusterRole "reader" to Group "devs"`},
		{"across namespaces", ask("ann/devs", "list", "", "pods", "", "", ""), true, ""},
		{"named subresource", ask("ann/devs", "get", "", "pods", "log", "a", "p"), true, ""},
		{"other subresource", ask("ann/devs", "get", "", "pods", "exec", "a", "p"), false, ""},
		{"other verb", ask("ann/devs", "create", "", "pods", "", "a", "p"), false, ""},
		{"other group", ask("ann/devs", "get", "apps", "pods", "", "a", "p"), false, ""},
		{"service account in its namespace", ask("system:serviceaccount:a:robot", "get", "", "secrets", "", "a", "key"), true,
			`RBAC: allowed by RoleBinding "keys/a" of Role "one-secret" to ServiceAccount "robot/a"`},
		{"other name", ask("system:serviceaccount:a:robot", "get", "", "secrets", "", "a", "key2"), false, ""},
		{"no name", ask("system:serviceaccount:a:robot", "get", "", "secrets", "", "a", ""), false, ""},
		{"other namespace", ask("system:serviceaccount:a:robot", "get", "", "secrets", "", "b", "key"), false, ""},
		{"star subresource", ask("bob", "update", "apps", "deployments", "scale", "a", "d"), true, ""},
		{"star subresource elsewhere", ask("bob", "update", "apps", "deployments", "scale", "b", "d"), false, ""},
		{"star subresource is not the parent", ask("bob", "update", "apps", "deployments", "", "a", "d"), false, ""},
		{"url", url("ann/devs", "/healthz"), true, ""},
		{"url below", url("ann/devs", "/api/v1"), true, ""},
		{"url elsewhere", url("ann/devs", "/metrics"), false, ""},
		{"dangling binding", ask("eve", "get", "", "pods", "", "a", "p"), false,
			`RBAC: clusterrole.rbac.authorization.k8s.io "lost" not found`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, reason, err := a.Authorize(t.Context(), tt.attrs)
			if err != nil || (d == authorizer.DecisionAllow) != tt.allow {
				t.Errorf("got %v %q %v", d, reason, err)
			}
			if tt.reason != "" && reason != tt.reason {
				t.Errorf("reason %q, want %q", reason, tt.reason)
			}
		})
	}
}

func TestChangesCountAtOnce(t *testing.T) {
	c := world()
	a := New(c)
	attrs := ask("zoe", "get", "", "pods", "", "a", "p")
	may := func() bool { d, _, _ := a.Authorize(t.Context(), attrs); return d == authorizer.DecisionAllow }
	if may() {
		t.Fatal("allowed before any binding")
	}
	b := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "zoe"},
		RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "reader"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "zoe"}}}
	if _, err := api.RoleBindings.Create(t.Context(), c, b); err != nil {
		t.Fatal(err)
	}
	if !may() {
		t.Error("the new binding does not count")
	}
	if err := api.RoleBindings.Delete(t.Context(), c, "a", "zoe", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if may() {
		t.Error("the deleted binding still counts")
	}
}

func TestEscalates(t *testing.T) {
	a := New(world())
	ann := &user.DefaultInfo{Name: "ann", Groups: []string{"devs"}}
	if err := a.Escalates(ann, "a", rules(rule("get", "", "pods"))); err != nil {
		t.Error(err)
	}
	err := a.Escalates(ann, "a", rules(rule("get,delete,watch", "", "pods,secrets")))
	want := "user \"ann\" (groups=[\"devs\"]) is attempting to grant RBAC permissions not currently held:\n" +
		"{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\" \"watch\"]}\n" +
		"{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"delete\" \"watch\"]}"
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func nodeWorld() *apitest.Client {
	c := &apitest.Client{}
	spec := corev1.PodSpec{
		NodeName: "n1", ServiceAccountName: "robot",
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}},
		Volumes: []corev1.Volume{
			{Name: "s", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "vol"}}},
			{Name: "c", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "claim"}}},
			{Name: "u", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "unbound"}}},
			{Name: "p", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "projected"}}}}}}},
		},
		InitContainers: []corev1.Container{{EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "env"}}}}}},
	}
	other := corev1.PodSpec{NodeName: "n2", ServiceAccountName: "robot2", ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull2"}}}
	c.Add(api.Pods.Resource,
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web"}, Spec: spec},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "other"}, Spec: other},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "mirror", Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"}},
			Spec: corev1.PodSpec{NodeName: "n1", ImagePullSecrets: []corev1.LocalObjectReference{{Name: "wanted"}}}})
	c.Add(api.PersistentVolumeClaims.Resource, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "claim"},
		Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "pv"}})
	volume := func(name, claim string, source corev1.PersistentVolumeSource) *corev1.PersistentVolume {
		return &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{
			ClaimRef: &corev1.ObjectReference{Namespace: "a", Name: claim}, PersistentVolumeSource: source}}
	}
	c.Add(api.PersistentVolumes.Resource,
		volume("pv", "claim", corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
			NodePublishSecretRef:       &corev1.SecretReference{Namespace: "csi", Name: "publish"},
			ControllerPublishSecretRef: &corev1.SecretReference{Namespace: "csi", Name: "controller"}}}),
		volume("waiting", "unbound", corev1.PersistentVolumeSource{AzureFile: &corev1.AzureFilePersistentVolumeSource{SecretName: "share"}}),
		volume("elsewhere", "nobody's", corev1.PersistentVolumeSource{RBD: &corev1.RBDPersistentVolumeSource{SecretRef: &corev1.SecretReference{Name: "rbd"}}}))
	return c
}

func TestNode(t *testing.T) {
	a := New(nodeWorld())
	const me = "system:node:n1/system:nodes"
	selecting := func(at authorizer.AttributesRecord, field, value string) authorizer.AttributesRecord {
		at.FieldSelectorRequirements = fields.Requirements{{Field: field, Operator: selection.Equals, Value: value}}
		return at
	}
	for _, tt := range []struct {
		name  string
		attrs authorizer.AttributesRecord
		allow bool
	}{
		{"pull secret", ask(me, "get", "", "secrets", "", "a", "pull"), true},
		{"volume secret, watched", ask(me, "watch", "", "secrets", "", "a", "vol"), true},
		{"environment of an init container", ask(me, "get", "", "secrets", "", "a", "env"), true},
		{"secret of the pod's volume", ask(me, "get", "", "secrets", "", "csi", "publish"), true},
		{"secret of the controller of the pod's volume", ask(me, "get", "", "secrets", "", "csi", "controller"), false},
		{"secret of a volume whose claim does not name it yet", ask(me, "get", "", "secrets", "", "a", "share"), true},
		{"secret of a volume that no pod of the node uses", ask(me, "get", "", "secrets", "", "a", "rbd"), false},
		{"same name elsewhere", ask(me, "get", "", "secrets", "", "b", "pull"), false},
		{"secret of another node's pod", ask(me, "get", "", "secrets", "", "a", "pull2"), false},
		{"secret that only a mirror pod names", ask(me, "get", "", "secrets", "", "a", "wanted"), false},
		{"all secrets", ask(me, "list", "", "secrets", "", "a", ""), false},
		{"writing a secret", ask(me, "update", "", "secrets", "", "a", "pull"), false},
		{"projected config map", ask(me, "get", "", "configmaps", "", "a", "projected"), true},
		{"other config map", ask(me, "get", "", "configmaps", "", "a", "x"), false},
		{"claim", ask(me, "get", "", "persistentvolumeclaims", "", "a", "claim"), true},
		{"volume", ask(me, "get", "", "persistentvolumes", "", "", "pv"), true},
		{"token", ask(me, "create", "", "serviceaccounts", "token", "a", "robot"), true},
		{"token of another node's account", ask(me, "create", "", "serviceaccounts", "token", "a", "robot2"), false},
		{"own node", ask(me, "get", "", "nodes", "", "", "n1"), true},
		{"other node", ask(me, "get", "", "nodes", "", "", "n2"), false},
		{"own status", ask(me, "patch", "", "nodes", "status", "", "n1"), true},
		{"own pods", selecting(ask(me, "watch", "", "pods", "", "", ""), "spec.nodeName", "n1"), true},
		{"other's pods", selecting(ask(me, "watch", "", "pods", "", "", ""), "spec.nodeName", "n2"), false},
		{"all pods", ask(me, "list", "", "pods", "", "", ""), false},
		{"one own pod", ask(me, "get", "", "pods", "", "a", "web"), true},
		{"one pod of another", ask(me, "get", "", "pods", "", "a", "other"), false},
		{"own lease", ask(me, "update", "coordination.k8s.io", "leases", "", "kube-node-lease", "n1"), true},
		{"other lease", ask(me, "update", "coordination.k8s.io", "leases", "", "kube-node-lease", "n2"), false},
		{"services", ask(me, "list", "", "services", "", "", ""), true},
		{"events", ask(me, "create", "", "events", "", "a", ""), true},
		{"not in the group", ask("system:node:n1", "get", "", "nodes", "", "", "n1"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, reason, err := a.Authorize(t.Context(), tt.attrs)
			if err != nil || (d == authorizer.DecisionAllow) != tt.allow {
				t.Errorf("got %v %q %v", d, reason, err)
			}
		})
	}
}

func BenchmarkAuthorize(b *testing.B) {
	a := New(world())
	var attrs authorizer.Attributes = ask("system:serviceaccount:a:robot/system:serviceaccounts,devs", "list", "", "pods", "", "a", "")
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if d, _, _ := a.Authorize(ctx, attrs); d != authorizer.DecisionAllow {
			b.Fatal("refused")
		}
	}
}
