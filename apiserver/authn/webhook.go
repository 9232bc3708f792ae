package authn

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/token/cache"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/webhook"

	"clipper/apiserver/egress"
	"clipper/apiserver/extremes"
)

// A WebhookConfig says which server is asked about tokens that nobody here knows.
type WebhookConfig struct {
	File     string        // kubeconfig of the server
	Version  string        // of TokenReview: v1 or v1beta1
	CacheTTL time.Duration // how long answers are remembered
	Dial     egress.Dial   // connects to the server
}

// webhookRetry is how often a server that does not answer is asked. Upstream's figures.
var webhookRetry = wait.Backoff{Duration: 500 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 5}

// NewWebhook returns an authenticator that asks the server of c.
func NewWebhook(c WebhookConfig, audiences []string) (authenticator.Token, error) {
	config, err := webhookutil.LoadKubeconfig(c.File, c.Dial)
	if err != nil {
		return nil, fmt.Errorf("token webhook: read %s: %w", c.File, err)
	}
	config.Wrap(extremes.BoundAnswers)
	hook, err := webhook.New(config, c.Version, audiences, webhookRetry)
	if err != nil {
		return nil, fmt.Errorf("token webhook %s: %w", c.File, err)
	}
	return cache.New(hook, false, c.CacheTTL, c.CacheTTL), nil
}
