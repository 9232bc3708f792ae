// Package bootstrapsigner signs kube-public/cluster-info, which a machine that joins reads before it trusts anything, with
// each bootstrap token that is for signing: whoever knows a token knows by that what the cluster says of itself.
package bootstrapsigner

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cluster-bootstrap/token/jws"

	"clipper/api"
	"clipper/apiserver/authn"
	"clipper/controllers/queue"
)

const (
	configMap     = "cluster-info"
	kubeconfigKey = "kubeconfig"
	// signaturePrefix is followed by the token's id.
	signaturePrefix = "jws-kubeconfig-"
)

// A Controller is the bootstrap signer.
type Controller struct {
	client api.Client
	now    func() time.Time
	queue  *queue.Queue[string] // of the one config map
}

// New returns the controller; Run starts it.
func New(c api.Client) *Controller {
	k := &Controller{client: c, now: time.Now}
	k.queue = queue.New("bootstrap_signer_queue", 1, k.sync)
	return k
}

// Run works until ctx ends.
func (k *Controller) Run(ctx context.Context) error {
	return k.queue.Run(ctx,
		queue.Source{View: api.Secrets.View(k.client).View, Handle: func(e api.Event) {
			s, ok := e.Object().(*corev1.Secret)
			if ok && s.Namespace == metav1.NamespaceSystem && s.Type == authn.BootstrapTokenType {
				k.queue.Add(configMap)
			}
		}},
		queue.Source{View: api.ConfigMaps.View(k.client).View, Handle: func(e api.Event) {
			o := e.Object()
			if o != nil && o.GetNamespace() == metav1.NamespacePublic && o.GetName() == configMap {
				k.queue.Add(configMap)
			}
		}},
	)
}

func (k *Controller) sync(ctx context.Context, _ string) error {
	cm, ok := api.ConfigMaps.View(k.client).Get(metav1.NamespacePublic, configMap)
	if !ok {
		return nil
	}
	data, err := signed(cm.Data, api.Secrets.View(k.client).List(metav1.NamespaceSystem), k.now())
	if err != nil {
		return fmt.Errorf("configmap %s/%s: %w", cm.Namespace, cm.Name, err)
	}
	if maps.Equal(data, cm.Data) {
		return nil
	}
	next := cm.DeepCopy()
	next.Data = data
	if _, err := api.ConfigMaps.Update(ctx, k.client, next); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("configmap %s/%s: write signatures: %w", cm.Namespace, cm.Name, err)
	}
	return nil
}

// signed returns data with the signatures of the tokens that sign at the time now, and no others.
func signed(data map[string]string, secrets []*corev1.Secret, now time.Time) (map[string]string, error) {
	out := maps.Clone(data)
	maps.DeleteFunc(out, func(key, _ string) bool { return strings.HasPrefix(key, signaturePrefix) })
	content, ok := data[kubeconfigKey]
	if !ok {
		return out, nil
	}
	for _, s := range secrets {
		id, secret, ok := signingToken(s, now)
		if !ok {
			continue
		}
		signature, err := jws.ComputeDetachedSignature(content, id, secret)
		if err != nil {
			return nil, fmt.Errorf("sign with bootstrap token %s: %w", id, err)
		}
		out[signaturePrefix+id] = signature
	}
	return out, nil
}

// signingToken returns the token in a secret, if it is one that signs.
func signingToken(s *corev1.Secret, now time.Time) (id, secret string, ok bool) {
	if s.Type != authn.BootstrapTokenType || s.DeletionTimestamp != nil {
		return "", "", false
	}
	id, ok = strings.CutPrefix(s.Name, authn.BootstrapTokenSecretPrefix)
	secret = string(s.Data[authn.BootstrapTokenSecret])
	return id, secret, ok && id != "" && secret != "" && string(s.Data[authn.BootstrapTokenID]) == id &&
		string(s.Data[authn.BootstrapTokenUsageSigning]) == "true" && !authn.BootstrapTokenExpired(s, now)
}
