package servers

import (
	"bytes"
	"fmt"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	policyv1beta1 "k8s.io/api/policy/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes/scheme"

	"clipper/store/log/etcd/etcdtest"
)

// upstream encodes as a Kubernetes API server does when it writes to etcd.
func upstream(t *testing.T, obj runtime.Object) string {
	t.Helper()
	kinds, _, err := scheme.Scheme.ObjectKinds(obj)
	if err != nil {
		t.Fatal(err)
	}
	obj.GetObjectKind().SetGroupVersionKind(kinds[0])
	var b bytes.Buffer
	if err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(obj, &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const crd = `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"crontabs.stable.example.com","uid":"4","creationTimestamp":"2020-01-01T00:00:00Z"},
"spec":{"group":"stable.example.com","scope":"Namespaced","names":{"plural":"crontabs","singular":"crontab","kind":"CronTab","listKind":"CronTabList"},"conversion":{"strategy":"None"},
"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","properties":{"cron":{"type":"string"}}}}}}}]},
"status":{"acceptedNames":{"plural":"crontabs","singular":"crontab","kind":"CronTab","listKind":"CronTabList"},"storedVersions":["v1"],"conditions":[]}}` + "\n"

const crontab = `{"apiVersion":"stable.example.com/v1","kind":"CronTab","metadata":{"name":"nightly","namespace":"default","uid":"5","creationTimestamp":"2020-01-01T00:00:00Z"},"spec":{"cron":"0 3 * * *"}}` + "\n"

// TestTakeOver starts a server on an etcd that a Kubernetes API server has filled, with objects of several ages and
// things that are none of the API's, and has the first read again what the second writes.
func TestTakeOver(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	etcd := cluster.Client()
	made := metav1.Unix(1577836800, 0)
	meta := func(namespace, name, uid string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(uid), CreationTimestamp: made}
	}
	left := map[string]string{ // what no server of ours may touch
		"/registry/ranges/serviceips": upstream(t, &corev1.RangeAllocation{Range: "10.96.0.0/12", Data: []byte{1, 2}}),
		"/registry/masterleases/10.0.0.1": upstream(t, &corev1.Endpoints{Subsets: []corev1.EndpointSubset{{
			Addresses: []corev1.EndpointAddress{{IP: "10.0.0.1"}}}}}),
		"compact_rev_key": "1000",
		"/calico/v3/x":    "another program's",
	}
	for key, value := range left {
		if _, err := etcd.Put(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
	for key, value := range map[string]string{
		"/registry/namespaces/default":        upstream(t, &corev1.Namespace{ObjectMeta: meta("", "default", "1"), Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{"kubernetes"}}, Status: corev1.NamespaceStatus{Phase: "Active"}}),
		"/registry/configmaps/default/old":    upstream(t, &corev1.ConfigMap{ObjectMeta: meta("default", "old", "2"), Data: map[string]string{"a": "b"}}),
		"/registry/services/specs/default/db": upstream(t, &corev1.Service{ObjectMeta: meta("default", "db", "3"), Spec: corev1.ServiceSpec{ClusterIP: "10.43.7.7", Ports: []corev1.ServicePort{{Port: 5432}}}}),
		"/registry/minions/n1":                upstream(t, &corev1.Node{ObjectMeta: meta("", "n1", "6")}),
		"/registry/poddisruptionbudgets/default/pdb": upstream(t, &policyv1beta1.PodDisruptionBudget{ObjectMeta: meta("default", "pdb", "7"),
			Spec: policyv1beta1.PodDisruptionBudgetSpec{MinAvailable: &intstr.IntOrString{IntVal: 2}}}),
		"/registry/apiextensions.k8s.io/customresourcedefinitions/crontabs.stable.example.com": crd,
		"/registry/stable.example.com/crontabs/default/nightly":                                crontab,
	} {
		if _, err := etcd.Put(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
	s := newServer(t, "s1", "127.0.0.1", "--etcd-servers", cluster.Endpoints()[0])
	clients := s.clients()
	ctx := t.Context()
	cm, err := clients.CoreV1().ConfigMaps("default").Get(ctx, "old", metav1.GetOptions{})
	if err != nil || cm.Data["a"] != "b" || !cm.CreationTimestamp.Equal(&made) {
		t.Fatalf("config map: %+v %v", cm, err)
	}
	svc, err := clients.CoreV1().Services("default").Get(ctx, "db", metav1.GetOptions{})
	if err != nil || svc.Spec.Type != "ClusterIP" || svc.Spec.Ports[0].Protocol != "TCP" || svc.Spec.SessionAffinity != "None" {
		t.Errorf("a service from before some defaults: %+v %v", svc, err)
	}
	// A client as old as the service knows one address, and sends back what it knows.
	svc.Spec.ClusterIPs, svc.Spec.IPFamilies, svc.Spec.IPFamilyPolicy, svc.Spec.InternalTrafficPolicy = nil, nil, nil, nil
	svc.Labels = map[string]string{"by": "an-old-client"}
	svc, err = clients.CoreV1().Services("default").Update(ctx, svc, metav1.UpdateOptions{})
	if err != nil || fmt.Sprint(svc.Spec.ClusterIPs, svc.Spec.IPFamilies) != "[10.43.7.7] [IPv4]" || *svc.Spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack {
		t.Errorf("updated by an old client: %+v %v", svc, err)
	}
	if _, err := clients.CoreV1().Nodes().Get(ctx, "n1", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	pdb, err := clients.PolicyV1().PodDisruptionBudgets("default").Get(ctx, "pdb", metav1.GetOptions{})
	if err != nil || pdb.Spec.MinAvailable.IntVal != 2 {
		t.Errorf("a disruption budget of policy/v1beta1: %+v %v", pdb, err)
	}
	custom, err := dynamic.NewForConfig(s.config())
	if err != nil {
		t.Fatal(err)
	}
	tab, err := custom.Resource(schema.GroupVersionResource{Group: "stable.example.com", Version: "v1", Resource: "crontabs"}).Namespace("default").Get(ctx, "nightly", metav1.GetOptions{})
	if err != nil || fmt.Sprint(tab.Object["spec"]) != "map[cron:0 3 * * *]" {
		t.Errorf("a custom resource: %+v %v", tab, err)
	}

	cm.Data["a"] = "c"
	if _, err := clients.CoreV1().ConfigMaps("default").Update(ctx, cm, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	raw, err := etcd.Get(ctx, "/registry/configmaps/default/old")
	if err != nil || len(raw.Kvs) != 1 {
		t.Fatalf("%+v %v", raw, err)
	}
	back, gvk, err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Decode(raw.Kvs[0].Value, nil, nil)
	if err != nil || gvk.Kind != "ConfigMap" || back.(*corev1.ConfigMap).Data["a"] != "c" || back.(*corev1.ConfigMap).ResourceVersion != "" {
		t.Errorf("upstream reads %v %+v: %v", gvk, back, err)
	}
	// Somebody else deletes.
	if _, err := etcd.Delete(ctx, "/registry/configmaps/default/old"); err != nil {
		t.Fatal(err)
	}
	if _, err := clients.CoreV1().ConfigMaps("default").Get(ctx, "old", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("what another program deleted: %v", err)
	}
	for key, want := range left {
		if got, err := etcd.Get(ctx, key); err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != want {
			t.Errorf("%s is %+v now: %v", key, got, err)
		}
	}
	if found, err := etcd.Get(ctx, "/registry/secrets/", clientv3.WithPrefix()); err != nil {
		t.Error(err)
	} else {
		for _, kv := range found.Kvs {
			if !bytes.HasPrefix(kv.Value, []byte("k8s:enc:")) {
				t.Errorf("%s is not encrypted", kv.Key)
			}
		}
	}
}
