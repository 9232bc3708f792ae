package all_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"clipper/api"
	"clipper/apiserver/apiservertest"
)

func clientFor(t *testing.T, cfg *rest.Config) *kubernetes.Clientset {
	t.Helper()
	cfg.QPS = -1
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func meta(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }

func pod(change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: meta("p"), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	if change != nil {
		change(p)
	}
	return p
}

// Each row creates a pod in a fresh namespace of a whole server and looks at what comes back.
func TestPods(t *testing.T) {
	s := apiservertest.Start(t)
	c := clientFor(t, s.Admin(t))
	ctx := t.Context()
	setUpClasses(t, c)
	no := false
	str := func(s string) *string { return &s }
	i32 := func(i int32) *int32 { return &i }
	for _, tt := range []struct {
		name   string
		labels map[string]string // of the namespace
		before func(ns string) error
		pod    *corev1.Pod
		check  func(*corev1.Pod) bool
		err    string
	}{
		{name: "identity", pod: pod(nil), check: func(p *corev1.Pod) bool {
			v := p.Spec.Volumes
			return p.Spec.ServiceAccountName == "default" && len(v) == 1 && strings.HasPrefix(v[0].Name, "kube-api-access-") &&
				len(v[0].Projected.Sources) == 3 && p.Spec.Containers[0].VolumeMounts[0].MountPath == "/var/run/secrets/kubernetes.io/serviceaccount"
		}},
		{name: "no token wanted", pod: pod(func(p *corev1.Pod) { p.Spec.AutomountServiceAccountToken = &no }), check: func(p *corev1.Pod) bool {
			return len(p.Spec.Volumes) == 0 && len(p.Spec.Containers[0].VolumeMounts) == 0
		}},
		{name: "unknown account", pod: pod(func(p *corev1.Pod) { p.Spec.ServiceAccountName = "ghost" }),
			err: `pods "p" is forbidden: error looking up service account NS/ghost: serviceaccount "ghost" not found`},
		{name: "pull secrets of the account", before: func(ns string) error {
			sa := &corev1.ServiceAccount{ObjectMeta: meta("puller"), ImagePullSecrets: []corev1.LocalObjectReference{{Name: "reg"}}}
			_, err := c.CoreV1().ServiceAccounts(ns).Create(ctx, sa, metav1.CreateOptions{})
			return err
		}, pod: pod(func(p *corev1.Pod) { p.Spec.ServiceAccountName = "puller" }), check: func(p *corev1.Pod) bool {
			return len(p.Spec.ImagePullSecrets) == 1 && p.Spec.ImagePullSecrets[0].Name == "reg"
		}},
		{name: "tolerations", pod: pod(nil), check: func(p *corev1.Pod) bool {
			return len(p.Spec.Tolerations) == 2 && *p.Spec.Tolerations[0].TolerationSeconds == 300
		}},
		{name: "own toleration", pod: pod(func(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{{Operator: "Exists"}} }), check: func(p *corev1.Pod) bool {
			return len(p.Spec.Tolerations) == 1
		}},
		{name: "no priority", pod: pod(nil), check: func(p *corev1.Pod) bool {
			return *p.Spec.Priority == 0 && *p.Spec.PreemptionPolicy == "PreemptLowerPriority"
		}},
		{name: "priority class", pod: pod(func(p *corev1.Pod) { p.Spec.PriorityClassName = "system-node-critical" }), check: func(p *corev1.Pod) bool {
			return *p.Spec.Priority == 2000001000
		}},
		{name: "unknown priority class", pod: pod(func(p *corev1.Pod) { p.Spec.PriorityClassName = "vip" }),
			err: `pods "p" is forbidden: no PriorityClass with name vip was found`},
		{name: "priority by hand", pod: pod(func(p *corev1.Pod) { p.Spec.Priority = i32(7) }),
			err: "the integer value of priority (7) must not be provided in pod spec; priority admission controller computed 0 from the given PriorityClass name"},
		{name: "unknown runtime class", pod: pod(func(p *corev1.Pod) { p.Spec.RuntimeClassName = str("wasm") }),
			err: `pods "p" is forbidden: pod rejected: RuntimeClass "wasm" not found`},
		{name: "runtime class", pod: pod(func(p *corev1.Pod) { p.Spec.RuntimeClassName = str("vm") }), check: func(p *corev1.Pod) bool {
			return p.Spec.Overhead.Cpu().String() == "100m" && p.Spec.NodeSelector["kvm"] == "yes"
		}},
		{name: "runtime class against the pod", pod: pod(func(p *corev1.Pod) {
			p.Spec.RuntimeClassName, p.Spec.NodeSelector = str("vm"), map[string]string{"kvm": "no"}
		}), err: "conflict: runtimeClass.scheduling.nodeSelector[kvm] = yes; pod.spec.nodeSelector[kvm] = no"},
		{name: "baseline", labels: map[string]string{"pod-security.kubernetes.io/enforce": "baseline"}, pod: pod(func(p *corev1.Pod) { p.Spec.HostNetwork = true }),
			err: `violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)`},
		{name: "baseline kept", labels: map[string]string{"pod-security.kubernetes.io/enforce": "baseline"}, pod: pod(nil)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ns, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "t-", Labels: tt.labels}}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if tt.before != nil {
				if err := tt.before(ns.Name); err != nil {
					t.Fatal(err)
				}
			}
			got, err := c.CoreV1().Pods(ns.Name).Create(ctx, tt.pod, metav1.CreateOptions{})
			if want := strings.ReplaceAll(tt.err, "NS", ns.Name); want != "" {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Fatalf("got %v, want %q", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tt.check != nil && !tt.check(got) {
				t.Errorf("pod is %+v", got.Spec)
			}
		})
	}
}

func setUpClasses(t *testing.T, c *kubernetes.Clientset) {
	t.Helper()
	class := &nodev1.RuntimeClass{ObjectMeta: meta("vm"), Handler: "kata",
		Overhead:   &nodev1.Overhead{PodFixed: corev1.ResourceList{"cpu": resource.MustParse("100m")}},
		Scheduling: &nodev1.Scheduling{NodeSelector: map[string]string{"kvm": "yes"}}}
	if _, err := c.NodeV1().RuntimeClasses().Create(t.Context(), class, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestNamespaces(t *testing.T) {
	s := apiservertest.Start(t)
	c := clientFor(t, s.Admin(t))
	ctx := t.Context()
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cm", Finalizers: []string{"example.com/keep"}}}
	_, err := c.CoreV1().ConfigMaps("nowhere").Create(ctx, cm, metav1.CreateOptions{})
	wantError(t, err, `namespaces "nowhere" not found`)
	wantError(t, c.CoreV1().Namespaces().Delete(ctx, "kube-system", metav1.DeleteOptions{}), `namespaces "kube-system" is forbidden: this namespace may not be deleted`)
	if _, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: meta("going")}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().ConfigMaps("going").Create(ctx, cm, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.CoreV1().Namespaces().Delete(ctx, "going", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = c.CoreV1().Secrets("going").Create(ctx, &corev1.Secret{ObjectMeta: meta("late")}, metav1.CreateOptions{})
	wantError(t, err, `secrets "late" is forbidden: unable to create new content in namespace going because it is being terminated`)
	held, err := c.CoreV1().ConfigMaps("going").Get(ctx, "cm", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	held.Finalizers = nil
	if _, err := c.CoreV1().ConfigMaps("going").Update(ctx, held, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the namespace goes", func(ctx context.Context) bool {
		_, err := c.CoreV1().Namespaces().Get(ctx, "going", metav1.GetOptions{})
		return err != nil
	})
}

func TestClassesByDefault(t *testing.T) {
	s := apiservertest.Start(t)
	c := clientFor(t, s.Admin(t))
	ctx := t.Context()
	yes := map[string]string{"storageclass.kubernetes.io/is-default-class": "true", networkingv1.AnnotationIsDefaultIngressClass: "true"}
	sc := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "fast", Annotations: yes}, Provisioner: "example.com/x"}
	if _, err := c.StorageV1().StorageClasses().Create(ctx, sc, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ic := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "front", Annotations: yes}, Spec: networkingv1.IngressClassSpec{Controller: "example.com/x"}}
	if _, err := c.NetworkingV1().IngressClasses().Create(ctx, ic, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: meta("c"), Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{"ReadWriteOnce"},
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": resource.MustParse("1Gi")}}}}
	got, err := c.CoreV1().PersistentVolumeClaims("default").Create(ctx, claim, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Spec.StorageClassName == nil || *got.Spec.StorageClassName != "fast" || len(got.Finalizers) != 1 || got.Finalizers[0] != "kubernetes.io/pvc-protection" {
		t.Errorf("claim %+v %v", got.Spec, got.Finalizers)
	}
	ingress := &networkingv1.Ingress{ObjectMeta: meta("i"), Spec: networkingv1.IngressSpec{DefaultBackend: &networkingv1.IngressBackend{
		Service: &networkingv1.IngressServiceBackend{Name: "s", Port: networkingv1.ServiceBackendPort{Number: 80}}}}}
	in, err := c.NetworkingV1().Ingresses("default").Create(ctx, ingress, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if in.Spec.IngressClassName == nil || *in.Spec.IngressClassName != "front" {
		t.Errorf("ingress %+v", in.Spec)
	}
	first := &schedulingv1.PriorityClass{ObjectMeta: meta("first"), Value: 1, GlobalDefault: true}
	if _, err := c.SchedulingV1().PriorityClasses().Create(ctx, first, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = c.SchedulingV1().PriorityClasses().Create(ctx, &schedulingv1.PriorityClass{ObjectMeta: meta("second"), Value: 2, GlobalDefault: true}, metav1.CreateOptions{})
	wantError(t, err, "PriorityClass first is already marked as default. Only one default can exist")
	node, err := c.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: meta("n1")}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(node.Spec.Taints) != 1 || node.Spec.Taints[0].Key != corev1.TaintNodeNotReady {
		t.Errorf("taints %v", node.Spec.Taints)
	}
}

func TestEscalation(t *testing.T) {
	s := apiservertest.Start(t)
	admin := clientFor(t, s.Admin(t))
	ctx := t.Context()
	bind := &rbacv1.RoleBinding{ObjectMeta: meta("ann"), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "admin"},
		Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "ann"}}}
	if _, err := admin.RbacV1().RoleBindings("default").Create(ctx, bind, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	cfg := s.Admin(t)
	cfg.Impersonate = rest.ImpersonationConfig{UserName: "ann", Groups: []string{"system:authenticated"}}
	ann := clientFor(t, cfg)
	role := func(name, verb, resource string) *rbacv1.Role {
		return &rbacv1.Role{ObjectMeta: meta(name), Rules: []rbacv1.PolicyRule{{Verbs: []string{verb}, APIGroups: []string{""}, Resources: []string{resource}}}}
	}
	// The aggregated role is filled by a controller.
	eventually(t, "ann can make a role of what she has", func(ctx context.Context) bool {
		_, err := ann.RbacV1().Roles("default").Create(ctx, role("mine", "get", "secrets"), metav1.CreateOptions{})
		return err == nil
	})
	_, err := ann.RbacV1().Roles("default").Create(ctx, role("more", "get", "nodes"), metav1.CreateOptions{})
	wantError(t, err, "roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"ann\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n"+
		`{APIGroups:[""], Resources:["nodes"], Verbs:["get"]}`)
	grab := &rbacv1.RoleBinding{ObjectMeta: meta("grab"), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: bind.Subjects}
	_, err = ann.RbacV1().RoleBindings("default").Create(ctx, grab, metav1.CreateOptions{})
	wantError(t, err, "is attempting to grant RBAC permissions not currently held")
	grab.RoleRef.Name = "nothing"
	_, err = ann.RbacV1().RoleBindings("default").Create(ctx, grab, metav1.CreateOptions{})
	wantError(t, err, `"nothing" not found`)
	grab.RoleRef.Name = "view"
	if _, err := ann.RbacV1().RoleBindings("default").Create(ctx, grab, metav1.CreateOptions{}); err != nil {
		t.Errorf("handing on what one has: %v", err)
	}
}

// A template that no pod may follow is accepted with a warning: the pods are refused.
func TestTemplatesWarn(t *testing.T) {
	s := apiservertest.Start(t)
	cfg := s.Admin(t)
	var said warnings
	cfg.WarningHandler = &said
	c := clientFor(t, cfg)
	ctx := t.Context()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "strict", Labels: map[string]string{"pod-security.kubernetes.io/warn": "restricted"}}}
	if _, err := c.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	job := &batchv1.Job{ObjectMeta: meta("j"), Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: pod(func(p *corev1.Pod) { p.Spec.RestartPolicy = "Never" }).Spec}}}
	if _, err := c.BatchV1().Jobs("strict").Create(ctx, job, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if len(said) != 1 || !strings.HasPrefix(said[0], `would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false`) {
		t.Errorf("warnings: %q", said)
	}
}

type warnings []string

func (w *warnings) HandleWarningHeader(_ int, _ string, text string) { *w = append(*w, text) }

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func eventually(t *testing.T, what string, fn func(context.Context) bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, 10*time.Second, true, func(ctx context.Context) (bool, error) { return fn(ctx), nil })
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// Twenty writers race for two places.
func TestQuotaUnderRace(t *testing.T) {
	s := apiservertest.Start(t)
	c := clientFor(t, s.Admin(t))
	ctx := t.Context()
	for round := range 10 {
		ns := fmt.Sprintf("race-%d", round)
		if _, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: meta(ns)}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		q := &corev1.ResourceQuota{ObjectMeta: meta("q"), Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"pods": resource.MustParse("2")}}}
		if _, err := c.CoreV1().ResourceQuotas(ns).Create(ctx, q, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		var made atomic.Int32
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				p := pod(func(p *corev1.Pod) { p.Name, p.GenerateName, p.Namespace = "", "p-", ns })
				_, err := api.Pods.Create(ctx, s.Client, p)
				if err == nil {
					made.Add(1)
				} else if !strings.Contains(err.Error(), "exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2") {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if made.Load() != 2 {
			t.Errorf("round %d: %d pods were let in", round, made.Load())
		}
	}
}
