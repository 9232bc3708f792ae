package webhook

import (
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	upstream "k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/webhook"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/generic"
	webhookrequest "k8s.io/apiserver/pkg/admission/plugin/webhook/request"

	"clipper/apiserver/admission/extension"
	"clipper/apiserver/inprocess/inprocesstest"
)

// FuzzPatch applies whatever a webhook may answer: the result is an object of the same kind, or an error
// that is noticed before anything has changed.
func FuzzPatch(f *testing.F) {
	for _, seed := range []string{
		`[{"op":"replace","path":"/spec/replicas","value":3}]`, `[{"op":"add","path":"/spec/template/spec/containers/-","value":{"name":"x"}}]`,
		`[{"op":"replace","path":"/kind","value":"Pod"}]`, `[{"op":"replace","path":"/apiVersion","value":"v1"},{"op":"replace","path":"/kind","value":"Pod"}]`, `[{"op":"remove","path":""}]`, `[{"op":"replace","path":"","value":null}]`,
		`[{"op":"copy","from":"/spec","path":"/spec/x"}]`, `[{"op":"test","path":"/a~01"}]`, `[null]`, `{}`, `[{"op":1}]`,
	} {
		f.Add([]byte(seed))
	}
	objects := extension.NewObjects(inprocesstest.New(f))
	gvk := appsv1.SchemeGroupVersion.WithKind("Deployment")
	replicas := int32(1)
	object := &appsv1.Deployment{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, ObjectMeta: metav1.ObjectMeta{Name: "d"},
		Spec: appsv1.DeploymentSpec{Replicas: &replicas, Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}}}}
	before := object.DeepCopy()
	hook := webhook.NewMutatingWebhookAccessor("x", "x", &admissionregistrationv1.MutatingWebhook{Name: "x.example.com"})
	f.Fuzz(func(t *testing.T, data []byte) {
		patch, err := jsonpatch.DecodePatch(data)
		if err != nil {
			return
		}
		r := &round{Plugin: &Plugin{objects: objects}}
		c := &call{inv: &generic.WebhookInvocation{Webhook: hook, Kind: gvk}, attrs: &upstream.VersionedAttributes{VersionedObject: object, VersionedKind: gvk},
			response: &webhookrequest.AdmissionResponse{PatchType: admissionv1.PatchTypeJSONPatch}}
		next, err := r.patched(c, patch)
		if err != nil {
			return
		}
		objects.Default(next)
		_, same := next.(*appsv1.Deployment)
		if err := objects.Convert(next, &appsv1.Deployment{}, nil); (err == nil) != same {
			t.Errorf("%s made a %T: %v", data, next, err)
		}
		if object.Name != before.Name || *object.Spec.Replicas != *before.Spec.Replicas {
			t.Fatalf("%s changed the object itself", data)
		}
	})
}
