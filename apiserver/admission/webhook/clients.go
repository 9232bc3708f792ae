package webhook

import (
	"bytes"
	"fmt"

	admissionv1 "k8s.io/api/admission/v1"
	admissionv1beta1 "k8s.io/api/admission/v1beta1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/config"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"

	"clipper/api"
	"clipper/apiserver/resolve"
)

// Kubeconfig reads the WebhookAdmissionConfiguration of one of the two plug-ins: which file says as whom webhooks are
// called.
func Kubeconfig(raw []byte) (string, error) {
	if raw == nil {
		return "", nil
	}
	c, err := config.LoadConfig(bytes.NewReader(raw))
	if err != nil {
		return "", err
	}
	if c.StaticManifestsDir != "" {
		return "", fmt.Errorf("staticManifestsDir: the feature gate ManifestBasedAdmissionControlConfig is off, and not supported here")
	}
	return c.KubeConfigFile, nil
}

// newClients returns the HTTP clients of webhooks. Services are reached at their pods, the server itself by self.
func newClients(c api.Client, self *resolve.Loopback, kubeconfig string) (*webhookutil.ClientManager, error) {
	cm, err := webhookutil.NewClientManager([]schema.GroupVersion{admissionv1.SchemeGroupVersion, admissionv1beta1.SchemeGroupVersion},
		admissionv1.AddToScheme, admissionv1beta1.AddToScheme)
	if err != nil {
		return nil, fmt.Errorf("webhooks: prepare clients: %w", err)
	}
	auth, err := webhookutil.NewDefaultAuthenticationInfoResolver(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("webhooks: prepare clients: %w", err)
	}
	cm.SetAuthenticationInfoResolver(self.Identities(auth))
	cm.SetServiceResolver(resolve.New(c, self))
	return &cm, nil
}
