// Package rootca publishes the certificate by which pods trust the API server, as the config map
// kube-root-ca.crt of every namespace.
package rootca

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/controllers/queue"
)

const (
	// Name of the config map.
	Name = "kube-root-ca.crt"
	// Description is its annotation kubernetes.io/description, as upstream words it.
	Description = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. " +
		"No other usage is guaranteed across distributions of Kubernetes clusters."

	descriptionKey = "kubernetes.io/description"
	workers        = 4
)

// A Controller is the root-CA publisher.
type Controller struct {
	client api.Client
	data   map[string]string
	queue  *queue.Queue[string] // of namespace names
}

// New returns the controller that publishes caPEM; Run starts it.
func New(c api.Client, caPEM []byte) *Controller {
	k := &Controller{client: c, data: map[string]string{"ca.crt": string(caPEM)}}
	k.queue = queue.New("root_ca_cert_publisher", workers, k.publish)
	return k
}

// Run works until ctx ends.
func (k *Controller) Run(ctx context.Context) error {
	return k.queue.Run(ctx,
		queue.Source{View: api.Namespaces.View(k.client).View, Handle: func(e api.Event) {
			if e.Type == api.Added {
				k.queue.Add(e.New.GetName())
			}
		}},
		queue.Source{View: api.ConfigMaps.View(k.client).View, Handle: func(e api.Event) {
			if e.Type != api.Added && e.Object().GetName() == Name {
				k.queue.Add(e.Object().GetNamespace())
			}
		}},
	)
}

// ConfigMap returns the config map for a namespace.
func ConfigMap(namespace string, caPEM []byte) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: Name, Annotations: map[string]string{descriptionKey: Description}},
		Data:       map[string]string{"ca.crt": string(caPEM)},
	}
}

func (k *Controller) publish(ctx context.Context, namespace string) error {
	begun := time.Now()
	err := k.sync(ctx, namespace)
	synced(err, time.Since(begun))
	return err
}

func (k *Controller) sync(ctx context.Context, namespace string) error {
	ns, ok := api.Namespaces.View(k.client).Get("", namespace)
	if !ok || ns.Status.Phase == corev1.NamespaceTerminating || ns.DeletionTimestamp != nil {
		return nil
	}
	have, ok := api.ConfigMaps.View(k.client).Get(namespace, Name)
	if !ok {
		_, err := api.ConfigMaps.Create(ctx, k.client, ConfigMap(namespace, []byte(k.data["ca.crt"])))
		if err == nil || apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil
		}
		return fmt.Errorf("configmap %s/%s: create: %w", namespace, Name, err)
	}
	if maps.Equal(have.Data, k.data) && have.Annotations[descriptionKey] != "" {
		return nil
	}
	next := have.DeepCopy()
	next.Data = maps.Clone(k.data)
	if next.Annotations == nil {
		next.Annotations = map[string]string{}
	}
	next.Annotations[descriptionKey] = Description
	if _, err := api.ConfigMaps.Update(ctx, k.client, next); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("configmap %s/%s: update: %w", namespace, Name, err)
	}
	return nil
}
