// Package nodetest has what tests of the node agent run against: an API, a runtime, an image store and a
// network in memory. They keep the contracts they stand in for; nothing outside tests imports them.
package nodetest

import (
	"context"
	"fmt"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"clipper/api"
	"clipper/api/apitest"
)

// Client is an API without a server that deletes pods gracefully and gives out service-account tokens.
type Client struct {
	apitest.Client

	mu     sync.Mutex
	Tokens int // how many service-account tokens were asked for
}

// NewClient returns an empty API.
func NewClient() *Client { return &Client{} }

// Delete implements api.Client: a pod is marked first unless the grace period is 0.
func (c *Client) Delete(ctx context.Context, r api.Resource, ns, name string, o metav1.DeleteOptions) error {
	if pod, ok := api.Pods.View(c).Get(ns, name); ok && r == api.Pods.Resource {
		grace := ptr.Deref(pod.Spec.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds)
		if grace = ptr.Deref(o.GracePeriodSeconds, grace); grace > 0 {
			return c.mark(ctx, pod, grace, o.Preconditions)
		}
	}
	return c.Client.Delete(ctx, r, ns, name, o)
}

func (c *Client) mark(ctx context.Context, pod *corev1.Pod, grace int64, p *metav1.Preconditions) error {
	_, err := api.Pods.Mutate(ctx, c, pod.Namespace, pod.Name, "", func(pod *corev1.Pod) (bool, error) {
		if p != nil && p.UID != nil && *p.UID != pod.UID {
			return false, apierrors.NewConflict(api.Pods.GroupResource(), pod.Name, fmt.Errorf("uid is %s", pod.UID))
		}
		pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = ptr.To(metav1.Now()), &grace
		return true, nil
	})
	return err
}

// CreateSubresource implements api.Client for service-account tokens.
func (c *Client) CreateSubresource(_ context.Context, r api.Resource, ns, name, sub string, body api.Object) (api.Object, error) {
	req, ok := body.(*authenticationv1.TokenRequest)
	if !ok || sub != "token" {
		return nil, apierrors.NewMethodNotSupported(r.GroupResource(), "create "+sub)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Tokens++
	out := req.DeepCopy()
	life := int64(3600)
	if req.Spec.ExpirationSeconds != nil {
		life = *req.Spec.ExpirationSeconds
	}
	out.Status.Token = fmt.Sprintf("token-%d-of-%s-%s", c.Tokens, ns, name)
	out.Status.ExpirationTimestamp = metav1.NewTime(time.Now().Add(time.Duration(life) * time.Second))
	return out, nil
}
