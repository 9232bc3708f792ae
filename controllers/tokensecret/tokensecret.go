// Package tokensecret fills secrets of type kubernetes.io/service-account-token with an unbound token of
// the service account that they name, and deletes them with their account. Nobody needs them any more
// who can ask for a bound token, but the API promises them.
package tokensecret

import (
	"bytes"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/controllers/owner"
	"clipper/controllers/queue"
)

const workers = 2

// A Signer makes the token.
type Signer interface {
	SignLegacy(sa *corev1.ServiceAccount, secret string) (string, error)
}

// A Controller is the token-secret controller.
type Controller struct {
	client api.Client
	signer Signer
	ca     []byte
	queue  *queue.Queue[owner.Key] // of secrets
}

// New returns the controller; Run starts it. caPEM goes into the secrets beside the token.
func New(c api.Client, s Signer, caPEM []byte) *Controller {
	k := &Controller{client: c, signer: s, ca: caPEM}
	k.queue = queue.New("serviceaccount_tokens_secret", workers, k.sync)
	return k
}

// Run works until ctx ends.
func (k *Controller) Run(ctx context.Context) error {
	return k.queue.Run(ctx,
		queue.Source{View: api.Secrets.View(k.client).View, Handle: func(e api.Event) {
			if s, ok := e.New.(*corev1.Secret); ok && s.Type == corev1.SecretTypeServiceAccountToken {
				k.queue.Add(owner.KeyOf(s))
			}
		}},
		queue.Source{View: api.ServiceAccounts.View(k.client).View, Handle: func(e api.Event) {
			if e.Type != api.Modified {
				k.enqueueSecretsOf(e.Object())
			}
		}},
	)
}

func (k *Controller) enqueueSecretsOf(sa api.Object) {
	for _, s := range api.Secrets.View(k.client).List(sa.GetNamespace()) {
		if s.Type == corev1.SecretTypeServiceAccountToken && s.Annotations[corev1.ServiceAccountNameKey] == sa.GetName() {
			k.queue.Add(owner.KeyOf(s))
		}
	}
}

func (k *Controller) sync(ctx context.Context, key owner.Key) error {
	secret, ok := api.Secrets.View(k.client).Get(key.Namespace, key.Name)
	if !ok || secret.DeletionTimestamp != nil {
		return nil
	}
	sa, ok := api.ServiceAccounts.View(k.client).Get(key.Namespace, secret.Annotations[corev1.ServiceAccountNameKey])
	if uid := secret.Annotations[corev1.ServiceAccountUIDKey]; !ok || uid != "" && uid != string(sa.UID) {
		return k.remove(ctx, secret)
	}
	next, err := k.fill(secret, sa)
	if err != nil || next == nil {
		return err
	}
	if _, err := api.Secrets.Update(ctx, k.client, next); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("secret %s: write token: %w", key, err)
	}
	return nil
}

func (k *Controller) remove(ctx context.Context, secret *corev1.Secret) error {
	err := api.Secrets.DeleteThis(ctx, k.client, secret, metav1.DeleteOptions{})
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return fmt.Errorf("secret %s/%s: delete, its service account is gone: %w", secret.Namespace, secret.Name, err)
}

// fill returns secret with what it lacks, or nil if it lacks nothing.
func (k *Controller) fill(secret *corev1.Secret, sa *corev1.ServiceAccount) (*corev1.Secret, error) {
	if len(secret.Data[corev1.ServiceAccountTokenKey]) > 0 && bytes.Equal(secret.Data[corev1.ServiceAccountRootCAKey], k.ca) &&
		string(secret.Data[corev1.ServiceAccountNamespaceKey]) == secret.Namespace && secret.Annotations[corev1.ServiceAccountUIDKey] == string(sa.UID) {
		return nil, nil
	}
	next := secret.DeepCopy()
	if next.Data == nil {
		next.Data = map[string][]byte{}
	}
	if len(next.Data[corev1.ServiceAccountTokenKey]) == 0 {
		token, err := k.signer.SignLegacy(sa, secret.Name)
		if err != nil {
			return nil, err
		}
		next.Data[corev1.ServiceAccountTokenKey] = []byte(token)
	}
	next.Data[corev1.ServiceAccountRootCAKey] = k.ca
	next.Data[corev1.ServiceAccountNamespaceKey] = []byte(secret.Namespace)
	next.Annotations[corev1.ServiceAccountUIDKey] = string(sa.UID)
	return next, nil
}
