// Package imagepolicy asks a server of the user's whether the images of a pod are good.
package imagepolicy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	imagepolicyv1alpha1 "k8s.io/api/imagepolicy/v1alpha1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/rest"

	"clipper/apiserver/admission"
	"clipper/apiserver/extremes"
)

// auditPrefix begins the audit annotations.
const auditPrefix = "imagepolicywebhook.image-policy.k8s.io/"

// mostAnswers is how many are remembered. Upstream's figure.
const mostAnswers = 1024

// A Plugin is the admission plug-in ImagePolicyWebhook.
type Plugin struct {
	config  settings
	hook    *webhook.GenericWebhook
	answers *cache.LRUExpireCache
}

// New returns the plug-in with its configuration, which it must have.
func New(raw []byte) (*Plugin, error) {
	config, err := readSettings(raw)
	if err != nil {
		return nil, err
	}
	client, err := webhook.LoadKubeconfig(config.KubeConfigFile, nil)
	if err != nil {
		return nil, err
	}
	client.Wrap(extremes.BoundAnswers)
	scheme := runtime.NewScheme() // the usual one has no reviews of images
	if err := imagepolicyv1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	hook, err := webhook.NewGenericWebhook(scheme, serializer.NewCodecFactory(scheme), client, []schema.GroupVersion{imagepolicyv1alpha1.SchemeGroupVersion},
		webhook.DefaultRetryBackoffWithInitialDelay(config.RetryBackoff))
	if err != nil {
		return nil, err
	}
	return &Plugin{*config, hook, cache.NewLRUExpireCache(mostAnswers)}, nil
}

// Validate refuses pods with an image that the server does not like.
func (p *Plugin) Validate(ctx context.Context, a *admission.Attributes) error {
	if a.Operation != admission.Create && a.Operation != admission.Update || !a.Is("", "pods") && !a.IsSub("", "pods", "ephemeralcontainers") {
		return nil
	}
	pod, ok := a.Object.(*corev1.Pod)
	if !ok {
		return nil
	}
	review := &imagepolicyv1alpha1.ImageReview{Spec: imagepolicyv1alpha1.ImageReviewSpec{
		Containers: images(pod, a.Subresource), Annotations: passed(pod.Annotations), Namespace: a.Namespace}}
	if err := p.ask(ctx, a, review); err != nil {
		return a.Forbidden(err)
	}
	return nil
}

func images(pod *corev1.Pod, subresource string) (out []imagepolicyv1alpha1.ImageReviewContainerSpec) {
	add := func(image string) {
		out = append(out, imagepolicyv1alpha1.ImageReviewContainerSpec{Image: image})
	}
	if subresource != "" {
		for i := range pod.Spec.EphemeralContainers {
			add(pod.Spec.EphemeralContainers[i].Image)
		}
		return out
	}
	for _, containers := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range containers {
			add(containers[i].Image)
		}
	}
	return out
}

// passed are the annotations that are meant for the server.
func passed(all map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range all {
		if strings.Contains(k, ".image-policy.k8s.io/") {
			out[k] = v
		}
	}
	return out
}

// ask returns why the pod is refused, or nil.
func (p *Plugin) ask(ctx context.Context, a *admission.Attributes, review *imagepolicyv1alpha1.ImageReview) error {
	key, err := json.Marshal(review.Spec)
	if err != nil {
		return err
	}
	if known, ok := p.answers.Get(string(key)); ok {
		review.Status = known.(imagepolicyv1alpha1.ImageReviewStatus)
	} else if err := p.call(ctx, review); err != nil {
		if !p.config.DefaultAllow {
			return err
		}
		return a.Record().AddAnnotation(auditPrefix+"failed-open", "true")
	} else {
		p.answers.Add(string(key), review.Status, p.lifetime(review.Status.Allowed))
	}
	for k, v := range review.Status.AuditAnnotations {
		_ = a.Record().AddAnnotation(auditPrefix+k, v) // a name that cannot be one is the server's fault, not the pod's
	}
	switch {
	case review.Status.Allowed:
		return nil
	case review.Status.Reason != "":
		return fmt.Errorf("image policy webhook backend denied one or more images: %s", review.Status.Reason)
	}
	return errors.New("one or more images rejected by webhook backend")
}

func (p *Plugin) lifetime(allowed bool) time.Duration {
	if allowed {
		return p.config.AllowTTL
	}
	return p.config.DenyTTL
}

func (p *Plugin) call(ctx context.Context, review *imagepolicyv1alpha1.ImageReview) error {
	result := p.hook.WithExponentialBackoff(ctx, func() rest.Result { return p.hook.RestClient.Post().Body(review).Do(ctx) })
	if err := result.Error(); err != nil {
		return err
	}
	code := 0
	if result.StatusCode(&code); code < 200 || code >= 300 {
		return fmt.Errorf("Error contacting webhook: %d", code) // upstream's words
	}
	return result.Into(review)
}
