package all

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"clipper/api"
	"clipper/apiserver/admission"
	"clipper/apiserver/admission/webhook"
	"clipper/apiserver/authz"
	"clipper/apiserver/inprocess/inprocesstest"
)

// FuzzConfigured: a configuration of a plug-in is refused with an error, or the plug-in works with it.
func FuzzConfigured(f *testing.F) {
	names := map[string][]string{
		"ImagePolicyWebhook": {"imagePolicy: {kubeConfigFile: /nowhere, allowTTL: 50}"},
		"PodSecurity": {
			"apiVersion: pod-security.admission.config.k8s.io/v1\nkind: PodSecurityConfiguration\ndefaults: {enforce: baseline, enforce-version: v1.2, warn: restricted}\nexemptions: {usernames: [a], namespaces: [b]}\n",
			"apiVersion: pod-security.admission.config.k8s.io/v1beta1\nkind: PodSecurityConfiguration\ndefaults: {enforce: x}\n"},
		"PodNodeSelector": {"podNodeSelectorPluginConfig: {clusterDefaultNodeSelector: zone=a, default: 'zone=a,disk=ssd'}", "podNodeSelectorPluginConfig: {default: '='}"},
		"PodTolerationRestriction": {
			"apiVersion: podtolerationrestriction.admission.k8s.io/v1alpha1\nkind: Configuration\ndefault: [{key: k, operator: Exists}]\nwhitelist: [{key: k, effect: NoExecute, tolerationSeconds: 3}, {operator: Gt}]\n"},
		"EventRateLimit": {"apiVersion: eventratelimit.admission.k8s.io/v1alpha1\nkind: Configuration\nlimits: [{type: Namespace, qps: 1, burst: 2, cacheSize: 3}, {type: Server, qps: 1, burst: 2147483647}]\n",
			"apiVersion: eventratelimit.admission.k8s.io/v1alpha1\nkind: Configuration\nlimits: [{type: None, qps: -1}]\n"},
		"MutatingAdmissionWebhook":   {"apiVersion: apiserver.config.k8s.io/v1\nkind: WebhookAdmissionConfiguration\nkubeConfigFile: relative\n"},
		"ValidatingAdmissionWebhook": {"apiVersion: apiserver.config.k8s.io/v1alpha1\nkind: WebhookAdmission\nkubeConfigFile: /nowhere\n"},
		"ResourceQuota": {"apiVersion: apiserver.config.k8s.io/v1\nkind: ResourceQuotaConfiguration\nlimitedResources: [{resource: pods, matchContains: [cpu, pods], matchScopes: [{scopeName: PriorityClass, operator: In, values: [x]}]}]\n",
			"apiVersion: resourcequota.admission.k8s.io/v1beta1\nkind: Configuration\nlimitedResources: [{matchScopes: [{}]}]\n"},
	}
	plugins := map[string]*plugin{}
	for i := range order {
		if order[i].configured {
			plugins[order[i].name] = &order[i]
		}
	}
	for name, texts := range names {
		for _, text := range texts {
			f.Add(name, []byte(text))
		}
		if plugins[name] == nil {
			f.Errorf("%s takes no configuration", name)
		}
	}
	if len(names) != len(plugins) {
		f.Errorf("%d of %d plug-ins are tried", len(names), len(plugins))
	}
	c := inprocesstest.New(f)
	az := authz.New(c)
	priority := int32(3)
	f.Fuzz(func(t *testing.T, name string, raw []byte) {
		known := plugins[name]
		if known == nil || raw == nil {
			return
		}
		p := &parts{client: c, authz: az, webhooks: map[string]*webhook.Plugin{}}
		made, err := known.make(p, raw)
		if err != nil || name == "ImagePolicyWebhook" { // whose server is somewhere else
			return
		}
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default"}, Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "c", Image: "i"}}, NodeSelector: map[string]string{"zone": "a"}, Priority: &priority, PriorityClassName: "x"}}
		event := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "e", Namespace: "default"}}
		for r, object := range map[api.Resource]api.Object{api.Pods.Resource: pod, api.CoreEvents.Resource: event} {
			a := &admission.Attributes{Operation: admission.Create, Resource: r, Namespace: "default", Name: object.GetName(), User: &user.DefaultInfo{Name: "ann"},
				Object: object, Warn: func(string) {}, Undo: func(func()) {}}
			if m, ok := made.(admission.Mutator); ok {
				_ = m.Admit(t.Context(), a) // may well be refused
			}
			if v, ok := made.(admission.Validator); ok {
				_ = v.Validate(t.Context(), a)
			}
		}
	})
}
