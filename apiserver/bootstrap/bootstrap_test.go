package bootstrap

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/apiserver/authz"
)

var cfg = Config{ServiceIP: netip.MustParseAddr("10.96.0.1"), Advertise: netip.MustParseAddr("192.0.2.1"), AdvertisePort: 6443,
	ServerURL: "https://192.0.2.1:6443", CA: []byte("CA"), FrontProxyCA: []byte("FP"), FrontProxy: "front-proxy-client",
	Now: func() time.Time { return time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC) }}

func TestRunTwice(t *testing.T) {
	c := &apitest.Client{}
	if err := Run(t.Context(), c, cfg); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"default", "kube-system", "kube-public", "kube-node-lease"} {
		if _, ok := api.Namespaces.View(c).Get("", name); !ok {
			t.Errorf("no namespace %s", name)
		}
	}
	svc, ok := api.Services.View(c).Get("default", "kubernetes")
	if !ok || svc.Spec.ClusterIP != "10.96.0.1" || svc.Spec.Ports[0].TargetPort.IntVal != 6443 {
		t.Errorf("service kubernetes: %+v", svc)
	}
	var writes atomic.Int32
	c.Before = func(verb string, r api.Resource, obj api.Object) error {
		writes.Add(1)
		t.Errorf("the second run writes: %s %s %s", verb, r.Name, obj.GetName())
		return nil
	}
	if err := Run(t.Context(), c, cfg); err != nil {
		t.Fatal(err)
	}
}

// TestRefused: what refuses every write ends a cluster's first start, and no later one.
func TestRefused(t *testing.T) {
	c := &apitest.Client{}
	refuse := func(string, api.Resource, api.Object) error { return errors.New("failed calling webhook") }
	c.Before = refuse
	if err := Run(t.Context(), c, cfg); err == nil {
		t.Fatal("a cluster without its objects has started")
	}
	c.Before = nil
	if err := Run(t.Context(), c, cfg); err != nil {
		t.Fatal(err)
	}
	c.Before = refuse
	moved := cfg
	moved.AdvertisePort++
	if err := Run(t.Context(), c, moved); err != nil {
		t.Errorf("a webhook keeps the server from starting: %v", err)
	}
}

func TestWhoMayWhat(t *testing.T) {
	c := &apitest.Client{}
	if err := Run(t.Context(), c, cfg); err != nil {
		t.Fatal(err)
	}
	a := authz.New(c)
	anonymous := &user.DefaultInfo{Name: "system:anonymous", Groups: []string{"system:unauthenticated"}}
	someone := &user.DefaultInfo{Name: "ann", Groups: []string{"system:authenticated"}}
	joiner := &user.DefaultInfo{Name: "system:bootstrap:abcdef", Groups: []string{"system:bootstrappers", "system:authenticated"}}
	node := &user.DefaultInfo{Name: "system:node:n1", Groups: []string{"system:nodes", "system:authenticated"}}
	for _, tt := range []struct {
		who            *user.DefaultInfo
		verb, what, ns string
		name           string
		want           bool
	}{
		{anonymous, "get", "/healthz", "", "", true},
		{anonymous, "get", "/version", "", "", true},
		{anonymous, "get", "/api", "", "", false},
		{anonymous, "get", "/metrics", "", "", false},
		{anonymous, "get", "configmaps", "kube-public", "cluster-info", true},
		{anonymous, "get", "configmaps", "kube-public", "other", false},
		{someone, "get", "/api/v1", "", "", true},
		{someone, "create", "selfsubjectaccessreviews.authorization.k8s.io", "", "", true},
		{someone, "list", "pods", "default", "", false},
		{joiner, "create", "certificatesigningrequests.certificates.k8s.io", "", "", true},
		{joiner, "create", "certificatesigningrequests/nodeclient.certificates.k8s.io", "", "", true},
		{joiner, "list", "secrets", "kube-system", "", false},
		{node, "create", "certificatesigningrequests/selfnodeclient.certificates.k8s.io", "", "", true},
		{node, "create", "certificatesigningrequests/nodeclient.certificates.k8s.io", "", "", false},
		{node, "watch", "endpointslices.discovery.k8s.io", "", "", true},
	} {
		at := authorizer.AttributesRecord{User: tt.who, Verb: tt.verb, Namespace: tt.ns, Name: tt.name}
		if strings.HasPrefix(tt.what, "/") {
			at.Path = tt.what
		} else {
			at.ResourceRequest = true
			at.Resource, at.APIGroup, _ = strings.Cut(tt.what, ".")
			at.Resource, at.Subresource, _ = strings.Cut(at.Resource, "/")
		}
		d, _, err := a.Authorize(t.Context(), at)
		if err != nil || (d == authorizer.DecisionAllow) != tt.want {
			t.Errorf("%s %s %s %s: %v %v, want %v", tt.who.Name, tt.verb, tt.what, tt.name, d, err, tt.want)
		}
	}
}

func TestReconcile(t *testing.T) {
	want := clusterRole("r", allow("get list", "core", "pods"))
	narrowed := want.DeepCopy()
	narrowed.Rules[0].Verbs = []string{"get"}
	narrowed.Rules = append(narrowed.Rules, allow("delete", "core", "pods"))
	next := reconcileClusterRole(narrowed, want)
	if next == nil || len(next.Rules) != 3 || !slices.Equal(next.Rules[2].Verbs, []string{"list"}) {
		t.Errorf("a narrowed role becomes %+v", next)
	}
	off := narrowed.DeepCopy()
	off.Annotations[rbacv1.AutoUpdateAnnotationKey] = "false"
	if reconcileClusterRole(off, want) != nil {
		t.Error("a role that wants to be left alone was changed")
	}
	b := clusterBinding("b", "r", group("g"))
	other := clusterBinding("b", "elsewhere", group("h"))
	if next, again := reconcileClusterRoleBinding(other, b); !again || next.RoleRef.Name != "r" || len(next.Subjects) != 2 {
		t.Errorf("a binding to another role becomes %+v, %v", next, again)
	}
}

func TestMovedBindingIsRecreated(t *testing.T) {
	c := &apitest.Client{}
	c.Add(api.ClusterRoleBindings.Resource, clusterBinding("system:discovery", "view", group("extra")))
	if err := Run(t.Context(), c, cfg); err != nil {
		t.Fatal(err)
	}
	b, ok := api.ClusterRoleBindings.View(c).Get("", "system:discovery")
	if !ok || b.RoleRef.Name != "system:discovery" || len(b.Subjects) != 2 {
		t.Errorf("binding is %+v", b)
	}
}

// TestNarrowedDiscovery: who had closed system:discovery before it was split finds the other half closed as well.
func TestNarrowedDiscovery(t *testing.T) {
	for _, tt := range []struct {
		autoUpdate string
		subjects   int
	}{{"false", 1}, {"true", 3}} {
		c := &apitest.Client{}
		old := clusterBinding("system:discovery", "system:discovery", group("ops"))
		old.Annotations[rbacv1.AutoUpdateAnnotationKey] = tt.autoUpdate
		c.Add(api.ClusterRoleBindings.Resource, old)
		for range 2 {
			if err := Run(t.Context(), c, cfg); err != nil {
				t.Fatal(err)
			}
			b, ok := api.ClusterRoleBindings.View(c).Get("", "system:public-info-viewer")
			if !ok || len(b.Subjects) != tt.subjects || b.Annotations[rbacv1.AutoUpdateAnnotationKey] != tt.autoUpdate || b.RoleRef.Name != b.Name {
				t.Errorf("autoupdate %s: binding is %+v", tt.autoUpdate, b)
			}
		}
	}
}

func TestServiceFollowsPort(t *testing.T) {
	c := &apitest.Client{}
	if err := Run(t.Context(), c, cfg); err != nil {
		t.Fatal(err)
	}
	moved := cfg
	moved.AdvertisePort = 16443
	if err := Run(t.Context(), c, moved); err != nil {
		t.Fatal(err)
	}
	var ep *corev1.Endpoints
	ep, _ = api.Endpoints.View(c).Get("default", "kubernetes")
	if ep == nil || ep.Subsets[0].Ports[0].Port != 16443 {
		t.Errorf("endpoints %+v", ep)
	}
}

func BenchmarkRun(b *testing.B) {
	for b.Loop() {
		if err := Run(b.Context(), &apitest.Client{}, cfg); err != nil {
			b.Fatal(err)
		}
	}
}

// The API refuses loopback endpoints; a server on loopback has none.
func TestLoopback(t *testing.T) {
	c := &apitest.Client{}
	local := cfg
	local.Advertise = netip.MustParseAddr("127.0.0.1")
	if err := Run(t.Context(), c, local); err != nil {
		t.Fatal(err)
	}
	if _, ok := api.Endpoints.View(c).Get("default", "kubernetes"); ok {
		t.Error("a loopback endpoint was made")
	}
}
