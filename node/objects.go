package node

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"clipper/api"
)

// objects reads what pods refer to. It asks the server rather than a view: a pod may arrive before a view
// shows what was made just before it.
type objects struct{ client api.Client }

func (o objects) ConfigMap(ctx context.Context, ns, name string) (*corev1.ConfigMap, error) {
	return api.ConfigMaps.Get(ctx, o.client, ns, name)
}

func (o objects) Secret(ctx context.Context, ns, name string) (*corev1.Secret, error) {
	return api.Secrets.Get(ctx, o.client, ns, name)
}

func (o objects) Services(ns string) []*corev1.Service {
	return api.Services.View(o.client).List(ns)
}
