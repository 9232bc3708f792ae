package apiserver_test

import (
	"net/http"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	featuregatetesting "k8s.io/component-base/featuregate/testing"

	"clipper/api"
	"clipper/apiserver/apiservertest"
	"clipper/apiserver/feature"
)

// TestStorageVersionHash: it is shown unless the feature is off.
func TestStorageVersionHash(t *testing.T) {
	for _, on := range []bool{true, false} {
		featuregatetesting.SetFeatureGateDuringTest(t, feature.Gate, features.StorageVersionHash, on)
		list, err := kubernetes.NewForConfigOrDie(apiservertest.Start(t).Admin(t)).Discovery().ServerResourcesForGroupVersion("apps/v1")
		if err != nil {
			t.Fatal(err)
		}
		if shown := list.APIResources[0].StorageVersionHash != ""; shown != on {
			t.Errorf("shown %v, want %v", shown, on)
		}
	}
}

// TestStreamByReaders: who may get a pod's exec opens a stream by WebSocket only if the feature is off.
func TestStreamByReaders(t *testing.T) {
	s := apiservertest.Start(t)
	ctx := t.Context()
	if _, err := api.Pods.Create(ctx, s.Client, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"},
		Spec: corev1.PodSpec{NodeName: "nowhere", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}); err != nil {
		t.Fatal(err)
	}
	c := kubernetes.NewForConfigOrDie(s.Admin(t))
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "reader"}, Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods/exec"}}}}
	if _, err := c.RbacV1().ClusterRoles().Create(ctx, role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "reader"}, RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "reader"},
		Subjects: []rbacv1.Subject{{APIGroup: "rbac.authorization.k8s.io", Kind: "User", Name: "bob"}}}
	if _, err := c.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	bob := s.Admin(t)
	bob.Impersonate.UserName = "bob"
	bob.NextProtos = []string{"http/1.1"}
	client, err := rest.HTTPClientFor(bob)
	if err != nil {
		t.Fatal(err)
	}
	feature.Enabled(feature.PodWebsocketCreatePermission) // makes it known
	for _, on := range []bool{true, false} {
		featuregatetesting.SetFeatureGateDuringTest(t, feature.Gate, feature.PodWebsocketCreatePermission, on)
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/api/v1/namespaces/default/pods/p/exec?command=c&container=c&stdout=1", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
			"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, "Sec-Websocket-Protocol": {"v5.channel.k8s.io"}}
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if refused := res.StatusCode == http.StatusForbidden; refused != on {
			t.Errorf("on %v: %s", on, res.Status)
		}
	}
}
