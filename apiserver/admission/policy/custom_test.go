package policy_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"clipper/apiserver/admission"
	"clipper/apiserver/admission/policy"
	"clipper/apiserver/inprocess"
	"clipper/apiserver/servertest"
)

const definition = `{
  "metadata": {"name": "lamps.example.com"},
  "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "lamps", "singular": "lamp", "kind": "Lamp", "listKind": "LampList"},
    "versions": [
      {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "colour": {"type": "string"}, "watts": {"type": "integer", "default": 5},
        "bulbs": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
          "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "lit": {"type": "boolean", "default": true}}}}}}}}}},
      {"name": "v2", "served": true, "storage": false, "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}
    ]}}`

// start runs a server whose admission is policies alone. User "weak" may get no secrets.
func start(t *testing.T) (*servertest.Server, *kubernetes.Clientset) {
	t.Helper()
	s, err := servertest.Start(t.TempDir(), servertest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	c := inprocess.New(s.Pipeline, s.Live, s.Store, &user.DefaultInfo{Name: "test"}, "test")
	may := authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		if a.GetUser().GetName() == "weak" && a.GetResource() == "secrets" {
			return authorizer.DecisionNoOpinion, "", nil
		}
		return authorizer.DecisionAllow, "", nil
	})
	s.Pipeline.Admit(admission.NewChain(admission.Plugin{Name: "MutatingAdmissionPolicy", Mutate: policy.NewMutating(c, may)},
		admission.Plugin{Name: "ValidatingAdmissionPolicy", Validate: policy.NewValidating(c, may)}))
	return s, kubernetes.NewForConfigOrDie(s.Config)
}

func rules(group, version, resource string) *admissionregistrationv1.MatchResources {
	return &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
		Operations: []admissionregistrationv1.OperationType{"CREATE", "UPDATE"}, Rule: admissionregistrationv1.Rule{APIGroups: []string{group}, APIVersions: []string{version}, Resources: []string{resource}}}}}}
}

// TestCustomResources: a policy changes custom resources in whatever version they are written, with
// parameters that are custom resources, and schemas say how lists are merged and what is filled in.
func TestCustomResources(t *testing.T) {
	s, c := start(t)
	ctx := t.Context()
	var crd apiextensionsv1.CustomResourceDefinition
	if err := json.Unmarshal([]byte(definition), &crd); err != nil {
		t.Fatal(err)
	}
	if _, err := clientset.NewForConfigOrDie(s.Config).ApiextensionsV1().CustomResourceDefinitions().Create(ctx, &crd, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	p := &admissionregistrationv1.MutatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
		MatchConstraints: rules("example.com", "v1", "lamps"), ReinvocationPolicy: admissionregistrationv1.NeverReinvocationPolicy,
		ParamKind:       &admissionregistrationv1.ParamKind{APIVersion: "example.com/v1", Kind: "Lamp"},
		MatchConditions: []admissionregistrationv1.MatchCondition{{Name: "others", Expression: "object.metadata.name != params.metadata.name"}},
		Mutations: []admissionregistrationv1.Mutation{{PatchType: admissionregistrationv1.PatchTypeApplyConfiguration, ApplyConfiguration: &admissionregistrationv1.ApplyConfiguration{
			Expression: `Object{spec: Object.spec{colour: params.spec.colour, bulbs: [Object.spec.bulbs{name: "extra"}]}}`}}}}}
	allow := admissionregistrationv1.AllowAction
	b := &admissionregistrationv1.MutatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{
		PolicyName: "p", ParamRef: &admissionregistrationv1.ParamRef{Name: "model", ParameterNotFoundAction: &allow}}}
	if _, err := c.AdmissionregistrationV1().MutatingAdmissionPolicies().Create(ctx, p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AdmissionregistrationV1().MutatingAdmissionPolicyBindings().Create(ctx, b, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	lamp := func(version, name string, spec map[string]any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/" + version, "kind": "Lamp", "metadata": map[string]any{"name": name}, "spec": spec}}
	}
	d := dynamic.NewForConfigOrDie(s.Config)
	in := func(version string) dynamic.ResourceInterface {
		return d.Resource(schema.GroupVersionResource{Group: "example.com", Version: version, Resource: "lamps"}).Namespace("default")
	}
	err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, 20*time.Second, true, func(ctx context.Context) (bool, error) {
		_, err := in("v1").Create(ctx, lamp("v1", "model", map[string]any{"colour": "blue"}), metav1.CreateOptions{})
		return err == nil, nil
	})
	if err != nil {
		t.Fatal("the kind is not served")
	}
	for _, version := range []string{"v1", "v2"} {
		got, err := in(version).Create(ctx, lamp(version, "mine-"+version, map[string]any{"colour": "red", "bulbs": []any{map[string]any{"name": "main"}}}), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(got.Object["spec"])
		if want := `{"bulbs":[{"lit":true,"name":"main"},{"lit":true,"name":"extra"}],"colour":"blue","watts":5}`; err != nil || string(text) != want {
			t.Errorf("%s: %s, want %s (%v)", version, text, want, err)
		}
	}
}

// TestExpressions: what expressions know beside the object, and how much they may cost.
func TestExpressions(t *testing.T) {
	s, c := start(t)
	ctx := t.Context()
	for name, expression := range map[string]string{
		"secret":    `authorizer.group("").resource("secrets").namespace(request.namespace).check("get").allowed()`,
		"namespace": `namespaceObject.metadata.labels["team"] == "red"`,
		"costly":    `object.data.all(a, object.data.all(b, object.data.all(c, a + b + c != "")))`,
	} {
		match := rules("", "v1", "configmaps")
		match.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"case": name}}
		p := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: match, Validations: []admissionregistrationv1.Validation{{Expression: expression}}}}
		if _, err := c.AdmissionregistrationV1().ValidatingAdmissionPolicies().Create(ctx, p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		b := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: name, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny}}}
		if _, err := c.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Create(ctx, b, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for name, team := range map[string]string{"red": "red", "blue": "blue"} {
		if _, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"team": team}}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	many := map[string]string{}
	for i := range 400 {
		many[strings.Repeat("k", i+1)[:i%200+1]+string(rune('a'+i/200))] = ""
	}
	for _, tt := range []struct {
		user, namespace, label string
		data                   map[string]string
		err                    string
	}{
		{"strong", "red", "secret", nil, ""},
		{"weak", "red", "secret", nil, "ValidatingAdmissionPolicy 'secret' with binding 'secret' denied request: failed expression: authorizer"},
		{"strong", "red", "namespace", nil, ""},
		{"strong", "blue", "namespace", nil, "ValidatingAdmissionPolicy 'namespace' with binding 'namespace' denied request: failed expression: namespaceObject"},
		{"strong", "red", "costly", map[string]string{"a": ""}, ""},
		{"strong", "red", "costly", many, "cost"},
	} {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "c-", Labels: map[string]string{"case": tt.label}}, Data: tt.data}
		_, err := kubernetes.NewForConfigOrDie(s.As(tt.user)).CoreV1().ConfigMaps(tt.namespace).Create(ctx, cm, metav1.CreateOptions{})
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s in %s, %s: got %v, want %q", tt.user, tt.namespace, tt.label, err, tt.err)
		}
	}
}
