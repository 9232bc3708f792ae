package apiserver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"clipper/apiserver/servertest"
)

func clients(t *testing.T, s *servertest.Server) (json, protobuf *kubernetes.Clientset) {
	t.Helper()
	p := rest.CopyConfig(s.Config)
	p.ContentType = protoT
	return kubernetes.NewForConfigOrDie(s.Config), kubernetes.NewForConfigOrDie(p)
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"a": "b"}}
}

// TestFormats writes in one format and reads in the other.
func TestFormats(t *testing.T) {
	s := start(t, servertest.Options{})
	asJSON, asProto := clients(t, s)
	ctx := context.Background()
	for i, pair := range [][2]*kubernetes.Clientset{{asJSON, asProto}, {asProto, asJSON}} {
		name := fmt.Sprintf("cm-%d", i)
		created := must(pair[0].CoreV1().ConfigMaps("default").Create(ctx, configMap(name), metav1.CreateOptions{}))(t)
		read := must(pair[1].CoreV1().ConfigMaps("default").Get(ctx, name, metav1.GetOptions{}))(t)
		if read.ResourceVersion != created.ResourceVersion || read.UID != created.UID || read.Data["a"] != "b" || read.UID == "" {
			t.Errorf("read %v, created %v", read, created)
		}
		list := must(pair[1].CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{}))(t)
		if len(list.Items) != i+1 || list.Items[i].Data["a"] != "b" || list.ResourceVersion == "" {
			t.Errorf("list %v", list)
		}
	}
	res, body := call{method: "GET", path: cms + "/cm-0", accept: yamlT}.do(t, s)
	if res.Header.Get("Content-Type") != yamlT || !strings.HasPrefix(string(body), "apiVersion: v1\ndata:\n  a: b\nkind: ConfigMap\n") {
		t.Errorf("yaml: %q", body)
	}
	_, body = call{method: "GET", path: cms, accept: jsonT}.do(t, s)
	if !strings.HasPrefix(string(body), `{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"3"},"items":[{"metadata":{"name":"cm-0"`) {
		t.Errorf("list begins %.120s", body)
	}
	for _, accept := range []string{jsonT, protoT} {
		cfg := rest.CopyConfig(s.Config)
		cfg.AcceptContentTypes = accept
		meta := metadata.NewForConfigOrDie(cfg)
		m := must(meta.Resource(corev1.SchemeGroupVersion.WithResource("configmaps")).Namespace("default").List(ctx, metav1.ListOptions{}))(t)
		if len(m.Items) != 2 || m.Items[0].Name != "cm-0" {
			t.Errorf("metadata as %s: %v", accept, m)
		}
	}
}

// TestTable reads pods as kubectl prints them.
func TestTable(t *testing.T) {
	s := start(t, servertest.Options{})
	cs, _ := clients(t, s)
	must(cs.CoreV1().Pods("default").Create(context.Background(), pod("p"), metav1.CreateOptions{}))(t)
	for _, version := range []string{"v1", "v1beta1"} {
		_, body := call{method: "GET", path: "/api/v1/namespaces/default/pods", accept: jsonT + ";as=Table;v=" + version + ";g=meta.k8s.io"}.do(t, s)
		var table metav1.Table
		if err := json.Unmarshal(body, &table); err != nil {
			t.Fatal(err)
		}
		if table.APIVersion != "meta.k8s.io/"+version || len(table.Rows) != 1 || table.Rows[0].Cells[0] != "p" || table.Rows[0].Cells[2] != "Pending" || table.ColumnDefinitions[0].Name != "Name" {
			t.Errorf("table %s", body)
		}
		var partial metav1.PartialObjectMetadata
		if err := json.Unmarshal(table.Rows[0].Object.Raw, &partial); err != nil || partial.Kind != "PartialObjectMetadata" || partial.Name != "p" {
			t.Errorf("row object %s (%v)", table.Rows[0].Object.Raw, err)
		}
	}
}

func pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "x"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
}

func TestUpdateRules(t *testing.T) {
	s := start(t, servertest.Options{})
	cs, _ := clients(t, s)
	ctx := context.Background()
	c := cs.CoreV1().ConfigMaps("default")
	first := must(c.Create(ctx, configMap("x"), metav1.CreateOptions{}))(t)
	same := must(c.Update(ctx, first.DeepCopy(), metav1.UpdateOptions{}))(t)
	if same.ResourceVersion != first.ResourceVersion {
		t.Errorf("an update that changes nothing made revision %s of %s", same.ResourceVersion, first.ResourceVersion)
	}
	next := first.DeepCopy()
	next.Data["a"] = "c"
	dry := must(c.Update(ctx, next, metav1.UpdateOptions{DryRun: []string{"All"}}))(t)
	if dry.Data["a"] != "c" || must(c.Get(ctx, "x", metav1.GetOptions{}))(t).Data["a"] != "b" {
		t.Error("dry run: not shown or not dry")
	}
	second := must(c.Update(ctx, next, metav1.UpdateOptions{}))(t)
	if second.UID != first.UID || !second.CreationTimestamp.Equal(&first.CreationTimestamp) || second.ResourceVersion == first.ResourceVersion {
		t.Errorf("update: %v after %v", second, first)
	}
	if _, err := c.Update(ctx, next, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("stale update: %v", err)
	}
	next.ResourceVersion = ""
	next.Data["a"] = "d"
	if got := must(c.Update(ctx, next, metav1.UpdateOptions{}))(t); got.Data["a"] != "d" {
		t.Errorf("unconditional update: %v", got)
	}
	generated := must(c.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "g-"}}, metav1.CreateOptions{}))(t)
	if len(generated.Name) != 7 || !strings.HasPrefix(generated.Name, "g-") {
		t.Errorf("generated name %q", generated.Name)
	}
}

func TestPatches(t *testing.T) {
	s := start(t, servertest.Options{})
	cs, _ := clients(t, s)
	ctx := context.Background()
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "d"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "x"}}, Spec: pod("").Spec},
		},
	}
	c := cs.AppsV1().Deployments("default")
	must(c.Create(ctx, d, metav1.CreateOptions{}))(t)
	got := must(c.Patch(ctx, "d", types.StrategicMergePatchType, []byte(`{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"j"}]}}}}`), metav1.PatchOptions{}))(t)
	if len(got.Spec.Template.Spec.Containers) != 2 || got.Generation != 2 {
		t.Errorf("strategic: %d containers, generation %d", len(got.Spec.Template.Spec.Containers), got.Generation)
	}
	got = must(c.Patch(ctx, "d", types.MergePatchType, []byte(`{"spec":{"replicas":3}}`), metav1.PatchOptions{}))(t)
	if *got.Spec.Replicas != 3 {
		t.Errorf("merge: %d replicas", *got.Spec.Replicas)
	}
	got = must(c.Patch(ctx, "d", types.JSONPatchType, []byte(`[{"op":"replace","path":"/spec/replicas","value":4}]`), metav1.PatchOptions{}))(t)
	if *got.Spec.Replicas != 4 || got.Generation != 4 {
		t.Errorf("json: %d replicas, generation %d", *got.Spec.Replicas, got.Generation)
	}
	got = must(c.Patch(ctx, "d", types.MergePatchType, []byte(`{"status":{"replicas":9},"spec":{"replicas":1}}`), metav1.PatchOptions{}, "status"))(t)
	if got.Status.Replicas != 9 || *got.Spec.Replicas != 4 || got.Generation != 4 {
		t.Errorf("status: %d, spec %d, generation %d", got.Status.Replicas, *got.Spec.Replicas, got.Generation)
	}
	scale := must(c.GetScale(ctx, "d", metav1.GetOptions{}))(t)
	if scale.Spec.Replicas != 4 || scale.Status.Replicas != 9 || scale.Status.Selector != "app=x" {
		t.Errorf("scale %+v", scale)
	}
	scale.Spec.Replicas = 6
	if scale = must(c.UpdateScale(ctx, "d", scale, metav1.UpdateOptions{}))(t); scale.Spec.Replicas != 6 {
		t.Errorf("updated scale %+v", scale)
	}
	got = must(c.Get(ctx, "d", metav1.GetOptions{}))(t)
	if *got.Spec.Replicas != 6 || got.Generation != 5 {
		t.Errorf("scaled: %d, generation %d", *got.Spec.Replicas, got.Generation)
	}
	_, err := c.Patch(ctx, "d", types.MergePatchType, []byte(`{"spec":{"replicas":-1}}`), metav1.PatchOptions{}, "scale")
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), `Scale.autoscaling "d" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0`) {
		t.Errorf("negative scale: %v", err)
	}
}

// TestApply: ownership, conflicts, force, removal of what is applied no more.
func TestApply(t *testing.T) {
	s := start(t, servertest.Options{})
	cs, _ := clients(t, s)
	ctx := context.Background()
	c := cs.CoreV1().ConfigMaps("default")
	apply := func(manager, data string, force bool) (*corev1.ConfigMap, error) {
		o := metav1.PatchOptions{FieldManager: manager, Force: &force}
		return c.Patch(ctx, "x", types.ApplyPatchType, []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: "+data), o)
	}
	if got := must(apply("one", "{a: '1', b: '2'}", false))(t); got.Data["b"] != "2" {
		t.Errorf("created %v", got.Data)
	}
	before := must(apply("one", "{a: '1', b: '2'}", false))(t)
	if again := must(apply("one", "{a: '1', b: '2'}", false))(t); again.ResourceVersion != before.ResourceVersion {
		t.Error("applying the same twice makes a new revision")
	}
	_, err := apply("two", "{a: '9'}", false)
	if !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `Apply failed with 1 conflict: conflict with "one": .data.a`) {
		t.Errorf("conflict: %v", err)
	}
	if got := must(apply("two", "{a: '9'}", true))(t); got.Data["a"] != "9" || got.Data["b"] != "2" {
		t.Errorf("forced %v", got.Data)
	}
	if got := must(apply("one", "{c: '3'}", false))(t); len(got.Data) != 2 || got.Data["a"] != "9" || got.Data["c"] != "3" {
		t.Errorf("b should be gone, a kept: %v", got.Data)
	}
}

func TestDeletion(t *testing.T) {
	s := start(t, servertest.Options{})
	cs, _ := clients(t, s)
	ctx := context.Background()
	c := cs.CoreV1().ConfigMaps("default")
	held := configMap("held")
	held.Finalizers = []string{"example.com/f"}
	must(c.Create(ctx, held, metav1.CreateOptions{}))(t)
	if err := c.Delete(ctx, "held", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	got := must(c.Get(ctx, "held", metav1.GetOptions{}))(t)
	if got.DeletionTimestamp == nil || *got.DeletionGracePeriodSeconds != 0 {
		t.Errorf("finalizer: %v", got.ObjectMeta)
	}
	_, err := c.Create(ctx, configMap("held"), metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) || !strings.Contains(err.Error(), "object is being deleted: configmaps \"held\" already exists") {
		t.Errorf("create of a dying name: %v", err)
	}
	_, err = c.Patch(ctx, "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":["example.com/f","example.com/g"]}}`), metav1.PatchOptions{})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted") {
		t.Errorf("new finalizer: %v", err)
	}
	must(c.Patch(ctx, "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}))(t)
	if _, err := c.Get(ctx, "held", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after the last finalizer: %v", err)
	}
	for policy, finalizer := range map[metav1.DeletionPropagation]string{
		metav1.DeletePropagationForeground: "foregroundDeletion", metav1.DeletePropagationOrphan: "orphan",
	} {
		name := strings.ToLower(string(policy))
		must(c.Create(ctx, configMap(name), metav1.CreateOptions{}))(t)
		if err := c.Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
			t.Fatal(err)
		}
		got := must(c.Get(ctx, name, metav1.GetOptions{}))(t)
		if len(got.Finalizers) != 1 || got.Finalizers[0] != finalizer || got.DeletionTimestamp == nil {
			t.Errorf("%s: finalizers %v", policy, got.Finalizers)
		}
	}
	rv := "1"
	must(c.Create(ctx, configMap("rv"), metav1.CreateOptions{}))(t)
	if err := c.Delete(ctx, "rv", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &rv}}); !apierrors.IsConflict(err) {
		t.Errorf("revision precondition: %v", err)
	}
	if err := c.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{FieldSelector: "metadata.name=rv"}); err != nil {
		t.Error(err)
	}
	if _, err := c.Get(ctx, "rv", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after deletecollection: %v", err)
	}
}

// TestPodDeletion: a bound pod gets its grace period, an unbound one goes at once.
func TestPodDeletion(t *testing.T) {
	s := start(t, servertest.Options{})
	cs, _ := clients(t, s)
	ctx := context.Background()
	c := cs.CoreV1().Pods("default")
	for _, name := range []string{"bound", "unbound"} {
		must(c.Create(ctx, pod(name), metav1.CreateOptions{}))(t)
	}
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "bound"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n"}}
	if err := c.Bind(ctx, binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Bind(ctx, binding, metav1.CreateOptions{}); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `pod bound is already assigned to node "n"`) {
		t.Errorf("second binding: %v", err)
	}
	for _, name := range []string{"bound", "unbound"} {
		if err := c.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Get(ctx, "unbound", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("unbound: %v", err)
	}
	got := must(c.Get(ctx, "bound", metav1.GetOptions{}))(t)
	if got.DeletionTimestamp == nil || *got.DeletionGracePeriodSeconds != 30 || got.Status.Conditions[0].Type != corev1.PodScheduled {
		t.Errorf("bound: %v %v", got.ObjectMeta, got.Status)
	}
	five, zero := int64(5), int64(0)
	if err := c.Delete(ctx, "bound", metav1.DeleteOptions{GracePeriodSeconds: &five}); err != nil {
		t.Fatal(err)
	}
	shorter := must(c.Get(ctx, "bound", metav1.GetOptions{}))(t)
	if *shorter.DeletionGracePeriodSeconds != 5 || !shorter.DeletionTimestamp.Before(got.DeletionTimestamp) {
		t.Errorf("shortened: %v", shorter.ObjectMeta)
	}
	if err := c.Delete(ctx, "bound", metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(ctx, "bound", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("forced: %v", err)
	}
}

// TestEviction: a disruption budget says how many pods may go.
func TestEviction(t *testing.T) {
	s := start(t, servertest.Options{})
	cs, _ := clients(t, s)
	ctx := context.Background()
	one := intstr.FromInt32(1)
	pdbs := cs.PolicyV1().PodDisruptionBudgets("default")
	pdb := must(pdbs.Create(ctx, &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "b"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}},
	}, metav1.CreateOptions{}))(t)
	pdb.Status = policyv1.PodDisruptionBudgetStatus{ObservedGeneration: pdb.Generation, DisruptionsAllowed: 1, CurrentHealthy: 2, DesiredHealthy: 1, ExpectedPods: 2}
	must(pdbs.UpdateStatus(ctx, pdb, metav1.UpdateOptions{}))(t)
	for _, name := range []string{"p1", "p2"} {
		p := must(cs.CoreV1().Pods("default").Create(ctx, pod(name), metav1.CreateOptions{}))(t)
		p.Status.Phase = corev1.PodRunning
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		must(cs.CoreV1().Pods("default").UpdateStatus(ctx, p, metav1.UpdateOptions{}))(t)
	}
	evict := func(name string) error {
		return cs.PolicyV1().Evictions("default").Evict(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}})
	}
	if err := evict("p1"); err != nil {
		t.Fatal(err)
	}
	if _, err := cs.CoreV1().Pods("default").Get(ctx, "p1", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("p1: %v", err)
	}
	err := evict("p2")
	if !apierrors.IsTooManyRequests(err) || !apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause) || !strings.Contains(err.Error(), "Cannot evict pod as it would violate the pod's disruption budget.") {
		t.Errorf("p2: %v", err)
	}
	pdb = must(pdbs.Get(ctx, "b", metav1.GetOptions{}))(t)
	if pdb.Status.DisruptionsAllowed != 0 || len(pdb.Status.DisruptedPods) != 1 {
		t.Errorf("budget: %+v", pdb.Status)
	}
}

// TestEvictionPreconditions: what an eviction requires of a pod is required of the pod that the client saw, not of
// the one that bears the mark of its eviction.
func TestEvictionPreconditions(t *testing.T) {
	s := start(t, servertest.Options{})
	cs, _ := clients(t, s)
	p := must(cs.CoreV1().Pods("default").Create(t.Context(), pod("p"), metav1.CreateOptions{}))(t)
	evict := func(c metav1.Preconditions) error {
		return cs.PolicyV1().Evictions("default").Evict(t.Context(), &policyv1.Eviction{
			ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default"}, DeleteOptions: &metav1.DeleteOptions{Preconditions: &c}})
	}
	oldRevision, oldUID := "1", types.UID("old")
	for want, c := range map[string]metav1.Preconditions{
		"the ResourceVersion in the precondition (1) does not match": {ResourceVersion: &oldRevision},
		"the UID in the precondition (old) does not match":           {UID: &oldUID},
	} {
		if err := evict(c); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if got := must(cs.CoreV1().Pods("default").Get(t.Context(), "p", metav1.GetOptions{}))(t); got.ResourceVersion != p.ResourceVersion {
		t.Errorf("refused evictions left their mark: %+v", got.Status.Conditions)
	}
	if err := evict(metav1.Preconditions{ResourceVersion: &p.ResourceVersion, UID: &p.UID}); err != nil {
		t.Error(err)
	}
}

// TestPages: chunks show one state; an expired token says so and offers another.
func TestPages(t *testing.T) {
	o := servertest.Options{}
	o.Store.RingSize = 8
	s := start(t, o)
	cs, _ := clients(t, s)
	ctx := context.Background()
	c := cs.CoreV1().ConfigMaps("default")
	for i := range 5 {
		must(c.Create(ctx, configMap(fmt.Sprintf("c%d", i)), metav1.CreateOptions{}))(t)
	}
	first := must(c.List(ctx, metav1.ListOptions{Limit: 2}))(t)
	if any := must(c.List(ctx, metav1.ListOptions{Limit: 2, ResourceVersion: "0"}))(t); len(any.Items) != 5 || any.Continue != "" || any.RemainingItemCount != nil {
		t.Errorf("a page of any state has %d objects, %+v: upstream's cache has no pages", len(any.Items), any.ListMeta)
	}
	if len(first.Items) != 2 || first.RemainingItemCount == nil || *first.RemainingItemCount != 3 || first.Continue == "" {
		t.Fatalf("first page %+v", first.ListMeta)
	}
	must(c.Create(ctx, configMap("c3b"), metav1.CreateOptions{}))(t)
	second := must(c.List(ctx, metav1.ListOptions{Limit: 9, Continue: first.Continue}))(t)
	if len(second.Items) != 3 || second.ResourceVersion != first.ResourceVersion || second.Continue != "" {
		t.Errorf("second page: %d items at %s, first at %s", len(second.Items), second.ResourceVersion, first.ResourceVersion)
	}
	for i := range 100 {
		must(c.Create(ctx, configMap(fmt.Sprintf("d%d", i)), metav1.CreateOptions{}))(t)
	}
	_, err := c.List(ctx, metav1.ListOptions{Limit: 9, Continue: first.Continue})
	if !apierrors.IsResourceExpired(err) || !strings.Contains(err.Error(), "The provided continue parameter is too old") {
		t.Fatalf("expired: %v", err)
	}
	again := err.(apierrors.APIStatus).Status().ListMeta.Continue
	rest := must(c.List(ctx, metav1.ListOptions{Continue: again}))(t)
	if len(rest.Items) != 104 || rest.Items[0].Name != "c2" {
		t.Errorf("inconsistent rest: %d items from %s", len(rest.Items), rest.Items[0].Name)
	}
	if _, err := c.List(ctx, metav1.ListOptions{ResourceVersion: "1", ResourceVersionMatch: metav1.ResourceVersionMatchExact}); !apierrors.IsResourceExpired(err) {
		t.Errorf("old exact revision: %v", err)
	}
}

func TestDiscovery(t *testing.T) {
	s := start(t, servertest.Options{})
	for _, legacy := range []bool{false, true} {
		d := discovery.NewDiscoveryClientForConfigOrDie(s.Config)
		d.UseLegacyDiscovery = legacy
		_, lists, err := d.ServerGroupsAndResources()
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]metav1.APIResource{}
		for _, l := range lists {
			for _, r := range l.APIResources {
				found[l.GroupVersion+"/"+r.Name] = r
			}
		}
		d1, scale := found["apps/v1/deployments"], found["apps/v1/deployments/scale"]
		if d1.Kind != "Deployment" || !d1.Namespaced || d1.ShortNames[0] != "deploy" || scale.Kind != "Scale" || scale.Group != "autoscaling" {
			t.Errorf("legacy %v: %+v %+v", legacy, d1, scale)
		}
		if len(lists) < 20 || found["v1/pods/exec"].Kind != "PodExecOptions" {
			t.Errorf("legacy %v: %d groups; exec %+v", legacy, len(lists), found["v1/pods/exec"])
		}
	}
	accept := jsonT + ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	res, _ := call{method: "GET", path: "/apis", accept: accept}.do(t, s)
	if etag := res.Header.Get("ETag"); etag == "" || res.Header.Get("Content-Type") != accept {
		t.Errorf("etag %q, type %q", etag, res.Header.Get("Content-Type"))
	}
}

func TestImpersonation(t *testing.T) {
	s := start(t, servertest.Options{})
	cfg := s.As("denied-joe")
	cfg.Impersonate.UserName = "admin"
	if _, err := kubernetes.NewForConfigOrDie(cfg).CoreV1().Nodes().List(context.Background(), metav1.ListOptions{}); !apierrors.IsForbidden(err) ||
		!strings.Contains(err.Error(), `User "denied-joe" cannot impersonate-on:user-info:list resource "nodes" in API group "" at the cluster scope`) {
		t.Errorf("impersonation: %v", err)
	}
	cfg = s.As("joe")
	cfg.Impersonate.UserName = "denied-ann"
	if _, err := kubernetes.NewForConfigOrDie(cfg).CoreV1().Nodes().List(context.Background(), metav1.ListOptions{}); !strings.Contains(fmt.Sprint(err), `User "denied-ann" cannot list`) {
		t.Errorf("impersonated: %v", err)
	}
}

// TestShutdown: open watches do not hold the server up.
func TestShutdown(t *testing.T) {
	s, err := servertest.Start(t.TempDir(), servertest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cs, _ := clients(t, s)
	w := must(cs.CoreV1().ConfigMaps("").Watch(context.Background(), metav1.ListOptions{}))(t)
	began := time.Now()
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	for range w.ResultChan() {
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("shutdown took %v", took)
	}
}

// TestUnstoredKindsHaveNoTables: reviews cannot be shown as tables.
func TestUnstoredKindsHaveNoTables(t *testing.T) {
	s := start(t, servertest.Options{})
	res, body := call{method: "POST", path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", contentType: jsonT,
		accept: jsonT + ";as=Table;v=v1;g=meta.k8s.io", body: `{"spec":{"nonResourceAttributes":{"path":"/","verb":"get"}}}`}.do(t, s)
	if res.StatusCode != 406 {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

// TestAPIServices: registrations are stored and shown, for servers elsewhere too.
func TestAPIServices(t *testing.T) {
	s := start(t, servertest.Options{})
	body := `{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","metadata":{"name":"v1."},"spec":{"version":"v1","groupPriorityMinimum":18000,"versionPriority":1}}`
	path := "/apis/apiregistration.k8s.io/v1/apiservices"
	if res, out := (call{method: "POST", path: path, contentType: jsonT, body: body}).do(t, s); res.StatusCode != 201 {
		t.Fatalf("%d %s", res.StatusCode, out)
	}
	_, out := call{method: "GET", path: path, accept: jsonT + ";as=Table;v=v1;g=meta.k8s.io"}.do(t, s)
	if !strings.Contains(string(out), `"cells":["v1.","Local","True"`) {
		t.Errorf("table %s", out)
	}
}
