package webhook

import (
	"fmt"

	admissionv1 "k8s.io/api/admission/v1"
	admissionv1beta1 "k8s.io/api/admission/v1beta1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"

	"clipper/api"
	"clipper/apiserver/resolve"
)

// newClients returns the HTTP clients of webhooks. Services are reached at their pods.
func newClients(c api.Client) (*webhookutil.ClientManager, error) {
	cm, err := webhookutil.NewClientManager([]schema.GroupVersion{admissionv1.SchemeGroupVersion, admissionv1beta1.SchemeGroupVersion},
		admissionv1.AddToScheme, admissionv1beta1.AddToScheme)
	if err != nil {
		return nil, fmt.Errorf("webhooks: prepare clients: %w", err)
	}
	auth, err := webhookutil.NewDefaultAuthenticationInfoResolver("")
	if err != nil {
		return nil, fmt.Errorf("webhooks: prepare clients: %w", err)
	}
	cm.SetAuthenticationInfoResolver(auth)
	cm.SetServiceResolver(resolve.New(c))
	return &cm, nil
}
