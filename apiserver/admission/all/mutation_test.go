package all_test

import (
	"maps"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"clipper/apiserver/apiservertest"
)

// matching chooses writes of a resource by a label of the object.
func matching(group, resource, label string) *admissionregistrationv1.MatchResources {
	rule := ruleFor("*", group, resource)[0]
	rule.Operations = []admissionregistrationv1.OperationType{"CREATE", "UPDATE"}
	m := &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: rule}}}
	if label != "" {
		m.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"case": label}}
	}
	return m
}

func jsonPatch(text string) admissionregistrationv1.Mutation {
	return admissionregistrationv1.Mutation{PatchType: admissionregistrationv1.PatchTypeJSONPatch, JSONPatch: &admissionregistrationv1.JSONPatch{Expression: text}}
}

func applied(text string) admissionregistrationv1.Mutation {
	return admissionregistrationv1.Mutation{PatchType: admissionregistrationv1.PatchTypeApplyConfiguration, ApplyConfiguration: &admissionregistrationv1.ApplyConfiguration{Expression: text}}
}

// mutate creates a policy for objects with the label case=name, and its binding.
func mutate(t *testing.T, c *kubernetes.Clientset, name, group, resource string, change func(*admissionregistrationv1.MutatingAdmissionPolicySpec, *admissionregistrationv1.MutatingAdmissionPolicyBindingSpec), mutations ...admissionregistrationv1.Mutation) {
	t.Helper()
	p := &admissionregistrationv1.MutatingAdmissionPolicy{ObjectMeta: meta(name), Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
		MatchConstraints: matching(group, resource, name), Mutations: mutations, ReinvocationPolicy: admissionregistrationv1.NeverReinvocationPolicy}}
	b := &admissionregistrationv1.MutatingAdmissionPolicyBinding{ObjectMeta: meta(name), Spec: admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{PolicyName: name}}
	if change != nil {
		change(&p.Spec, &b.Spec)
	}
	if _, err := c.AdmissionregistrationV1().MutatingAdmissionPolicies().Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AdmissionregistrationV1().MutatingAdmissionPolicyBindings().Create(t.Context(), b, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestMutatingPolicies(t *testing.T) {
	s := apiservertest.Start(t)
	c := clientFor(t, s.Admin(t))
	ctx := t.Context()
	type spec = *admissionregistrationv1.MutatingAdmissionPolicySpec
	type binding = *admissionregistrationv1.MutatingAdmissionPolicyBindingSpec
	params := func(notFound admissionregistrationv1.ParameterNotFoundActionType, name string) func(spec, binding) {
		return func(p spec, b binding) {
			p.ParamKind = &admissionregistrationv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"}
			b.ParamRef = &admissionregistrationv1.ParamRef{Name: name, Namespace: "default", ParameterNotFoundAction: &notFound}
		}
	}
	mutate(t, c, "patch", "", "configmaps", nil, jsonPatch(`[JSONPatch{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("example.com/by"), value: request.userInfo.username},
		JSONPatch{op: "test", path: "/data/a", value: "1"}, JSONPatch{op: "replace", path: "/data/a", value: "2"}]`))
	mutate(t, c, "apply", "", "configmaps", nil, applied(`Object{data: {"applied": object.metadata.name}}`))
	mutate(t, c, "twice", "", "configmaps", func(p spec, _ binding) {
		p.Variables = []admissionregistrationv1.Variable{{Name: "size", Expression: `object.?data.orValue({}).size()`}}
	}, jsonPatch(`[JSONPatch{op: "add", path: "/data", value: {"first": string(variables.size)}}]`), applied(`Object{data: {"second": string(object.data.size())}}`))
	mutate(t, c, "param", "", "configmaps", params(admissionregistrationv1.DenyAction, "settings"), applied(`Object{data: {"colour": params.data.colour}}`))
	mutate(t, c, "lost", "", "configmaps", params(admissionregistrationv1.DenyAction, "nothing"), applied(`Object{data: {"colour": params.data.colour}}`))
	mutate(t, c, "optional", "", "configmaps", params(admissionregistrationv1.AllowAction, "nothing"), applied(`Object{data: {"colour": params.data.colour}}`))
	mutate(t, c, "condition", "", "configmaps", func(p spec, _ binding) {
		p.MatchConditions = []admissionregistrationv1.MatchCondition{{Name: "big", Expression: `object.metadata.name.startsWith("big")`}}
	}, applied(`Object{data: {"big": "yes"}}`))
	mutate(t, c, "broken", "", "configmaps", nil, applied(`Object{data: {"x": object.data.missing}}`))
	mutate(t, c, "ignored", "", "configmaps", func(p spec, _ binding) {
		ignore := admissionregistrationv1.Ignore
		p.FailurePolicy = &ignore
	}, applied(`Object{data: {"x": object.data.missing}}`))
	settings := &corev1.ConfigMap{ObjectMeta: meta("settings"), Data: map[string]string{"colour": "blue"}}
	if _, err := c.CoreV1().ConfigMaps("default").Create(ctx, settings, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, label string
		data, want  map[string]string
		err         string
	}{
		{"p1", "patch", map[string]string{"a": "1"}, map[string]string{"a": "2"}, ""},
		{"p2", "patch", map[string]string{"a": "7"}, map[string]string{"a": "7"}, ""}, // the test fails: nothing is applied
		{"a", "apply", map[string]string{"mine": "1"}, map[string]string{"mine": "1", "applied": "a"}, ""},
		{"t", "twice", nil, map[string]string{"first": "0", "second": "1"}, ""},
		{"q", "param", nil, map[string]string{"colour": "blue"}, ""},
		{"l", "lost", nil, nil, "policy 'lost' with binding 'lost' denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"},
		{"o", "optional", nil, nil, ""},
		{"big", "condition", nil, map[string]string{"big": "yes"}, ""},
		{"small", "condition", nil, nil, ""},
		{"b", "broken", nil, nil, "policy 'broken' with binding 'broken' denied request: expression 'Object{data: {\"x\": object.data.missing}}' resulted in error: no such key: data"},
		{"i", "ignored", nil, nil, ""},
	} {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: tt.name, Labels: map[string]string{"case": tt.label}}, Data: tt.data}
		got, err := c.CoreV1().ConfigMaps("default").Create(ctx, cm, metav1.CreateOptions{})
		switch {
		case tt.err != "":
			wantError(t, err, tt.err)
		case err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case !maps.Equal(got.Data, tt.want):
			t.Errorf("%s: data %v, want %v", tt.name, got.Data, tt.want)
		}
		if tt.name == "p1" && got.Labels["example.com/by"] != "kubernetes-admin" {
			t.Errorf("labels %v", got.Labels)
		}
	}
}

// What a policy adds to a list with keys is merged, gets its defaults, and is seen by the built-in plug-ins.
func TestMutatingPolicyAddsContainer(t *testing.T) {
	s := apiservertest.Start(t)
	c := clientFor(t, s.Admin(t))
	mutate(t, c, "sidecar", "", "pods", nil, applied(`Object{spec: Object.spec{initContainers: [Object.spec.initContainers{name: "mesh", image: "mesh:1", restartPolicy: "Always"}]}}`))
	p, err := c.CoreV1().Pods("default").Create(t.Context(), pod(func(p *corev1.Pod) {
		p.Labels = map[string]string{"case": "sidecar"}
		p.Spec.InitContainers = []corev1.Container{{Name: "prepare", Image: "p"}}
	}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(p.Spec.InitContainers); n != 2 {
		t.Fatalf("%d init containers", n)
	}
	mesh := p.Spec.InitContainers[1]
	if mesh.Name != "mesh" || mesh.ImagePullPolicy != "IfNotPresent" || mesh.TerminationMessagePath == "" || len(mesh.VolumeMounts) != 1 {
		t.Errorf("sidecar: %+v", mesh)
	}
}

// Webhooks run after policies; a policy that asks for it sees what they did, and so does one before another.
func TestReinvocation(t *testing.T) {
	s := apiservertest.Start(t)
	c := clientFor(t, s.Admin(t))
	again := func(policy admissionregistrationv1.ReinvocationPolicyType) func(*admissionregistrationv1.MutatingAdmissionPolicySpec, *admissionregistrationv1.MutatingAdmissionPolicyBindingSpec) {
		return func(p *admissionregistrationv1.MutatingAdmissionPolicySpec, _ *admissionregistrationv1.MutatingAdmissionPolicyBindingSpec) {
			p.ReinvocationPolicy, p.MatchConstraints = policy, matching("", "configmaps", "again")
		}
	}
	const count = `Object{metadata: Object.metadata{annotations: {"NAME": string(int(object.metadata.?annotations["NAME"].orValue("0")) + 1)}}}`
	mutate(t, c, "a-eager", "", "configmaps", again(admissionregistrationv1.IfNeededReinvocationPolicy), applied(strings.ReplaceAll(count, "NAME", "eager")))
	mutate(t, c, "b-once", "", "configmaps", again(admissionregistrationv1.NeverReinvocationPolicy), applied(strings.ReplaceAll(count, "NAME", "once")))
	url, ca := hookServer(t)
	u, none := url+"/mark", admissionregistrationv1.SideEffectClassNone
	hook := admissionregistrationv1.MutatingWebhook{Name: "mark.example.com", ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &u, CABundle: ca}, Rules: ruleFor("CREATE", "", "configmaps"),
		SideEffects: &none, AdmissionReviewVersions: []string{"v1"}}
	if _, err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(),
		&admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: meta("mark"), Webhooks: []admissionregistrationv1.MutatingWebhook{hook}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	cm, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "m", Labels: map[string]string{"case": "again"}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if cm.Annotations["eager"] != "2" || cm.Annotations["once"] != "1" || cm.Data["marked"] != "yes" {
		t.Errorf("annotations %v, data %v", cm.Annotations, cm.Data)
	}
}

// A policy for scales sees Scales.
func TestScaleIsShownAsScale(t *testing.T) {
	s := apiservertest.Start(t)
	c := clientFor(t, s.Admin(t))
	ctx := t.Context()
	p := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: meta("small"), Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: matching("apps", "deployments/scale", ""),
		Validations:      []admissionregistrationv1.Validation{{Expression: `object.spec.replicas <= oldObject.spec.replicas * 2`, MessageExpression: `request.kind.group + "/" + object.kind + " of " + string(object.spec.replicas)`}}}}
	if _, err := c.AdmissionregistrationV1().ValidatingAdmissionPolicies().Create(ctx, p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: meta("small"), Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: "small", ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny}}}
	if _, err := c.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Create(ctx, b, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{"app": "web"}
	d := &appsv1.Deployment{ObjectMeta: meta("web"), Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod(nil).Spec}}}
	if _, err := c.AppsV1().Deployments("default").Create(ctx, d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	scale := func(n int32) error {
		_, err := c.AppsV1().Deployments("default").UpdateScale(ctx, "web", &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: autoscalingv1.ScaleSpec{Replicas: n}}, metav1.UpdateOptions{})
		return err
	}
	if err := scale(2); err != nil {
		t.Error(err)
	}
	wantError(t, scale(5), "ValidatingAdmissionPolicy 'small' with binding 'small' denied request: autoscaling/Scale of 5")
}

// Who writes a policy must be allowed to read its parameters.
func TestParametersTakeRights(t *testing.T) {
	s := apiservertest.Start(t)
	admin := clientFor(t, s.Admin(t))
	ctx := t.Context()
	allow(t, admin, "author", "admissionregistration.k8s.io", "*", "*")
	cfg := s.Admin(t)
	cfg.Impersonate.UserName = "author"
	c := clientFor(t, cfg)
	p := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: meta("secret"), Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
		ParamKind: &admissionregistrationv1.ParamKind{APIVersion: "v1", Kind: "Secret"}, MatchConstraints: matching("", "configmaps", ""),
		Validations: []admissionregistrationv1.Validation{{Expression: "params != null"}}}}
	_, err := c.AdmissionregistrationV1().ValidatingAdmissionPolicies().Create(ctx, p, metav1.CreateOptions{})
	if !apierrors.IsInvalid(err) {
		t.Errorf("got %v", err)
	}
	wantError(t, err, `must have "get" permission on all objects of the referenced paramKind (kind=Secret, apiVersion=v1)`)
	allow(t, admin, "author", "", "secrets", "get")
	if _, err := c.AdmissionregistrationV1().ValidatingAdmissionPolicies().Create(ctx, p, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	deny := admissionregistrationv1.DenyAction
	b := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: meta("secret"), Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: "secret", ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		ParamRef: &admissionregistrationv1.ParamRef{Selector: &metav1.LabelSelector{}, ParameterNotFoundAction: &deny}}}
	_, err = c.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Create(ctx, b, metav1.CreateOptions{})
	wantError(t, err, `does not have "list" permission on the object referenced by paramRef`)
}

// allow gives a user a right on all objects of a resource.
func allow(t *testing.T, c *kubernetes.Clientset, user, group, resource, verb string) {
	t.Helper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{group}, Resources: []string{resource}, Verbs: []string{verb}}}}
	role, err := c.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b := &rbacv1.ClusterRoleBinding{ObjectMeta: meta(role.Name), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: user}}}
	if _, err := c.RbacV1().ClusterRoleBindings().Create(t.Context(), b, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
