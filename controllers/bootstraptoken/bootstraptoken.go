// Package bootstraptoken deletes the tokens with which machines join once their time is over.
package bootstraptoken

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/apiserver/authn"
	"clipper/controllers/queue"
)

// A Controller is the token cleaner.
type Controller struct {
	client api.Client
	now    func() time.Time
	queue  *queue.Queue[string] // of secrets in kube-system
}

// New returns the controller; Run starts it.
func New(c api.Client) *Controller {
	k := &Controller{client: c, now: time.Now}
	k.queue = queue.New("token_cleaner", 1, k.sync)
	return k
}

// Run works until ctx ends.
func (k *Controller) Run(ctx context.Context) error {
	return k.queue.Run(ctx, queue.Source{View: api.Secrets.View(k.client).View, Handle: func(e api.Event) {
		if s, ok := e.New.(*corev1.Secret); ok && s.Namespace == metav1.NamespaceSystem && s.Type == authn.BootstrapTokenType {
			k.queue.Add(s.Name)
		}
	}})
}

func (k *Controller) sync(ctx context.Context, name string) error {
	s, ok := api.Secrets.View(k.client).Get(metav1.NamespaceSystem, name)
	if !ok || s.Type != authn.BootstrapTokenType || s.DeletionTimestamp != nil {
		return nil
	}
	now := k.now()
	if !authn.BootstrapTokenExpired(s, now) {
		if at, err := time.Parse(time.RFC3339, string(s.Data[authn.BootstrapTokenExpiration])); err == nil {
			k.queue.AddAfter(name, at.Sub(now)+time.Second) // the stamp has no fractions
		}
		return nil
	}
	err := api.Secrets.DeleteThis(ctx, k.client, s, metav1.DeleteOptions{})
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return fmt.Errorf("secret %s/%s: delete expired token: %w", s.Namespace, s.Name, err)
}
