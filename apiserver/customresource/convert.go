package customresource

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/uuid"

	"clipper/api"
)

const (
	conversionTimeout = 30 * time.Second // upstream's
	maxReview         = 16 << 20         // of a webhook's answer
)

// A convert makes an object of another version of the same kind. The object it is given stays as it is.
type convert func(in api.Object, to schema.GroupVersionKind) (api.Object, error)

// relabel converts between versions of the same shape (strategy None).
func relabel(in api.Object, to schema.GroupVersionKind) (api.Object, error) {
	u, ok := in.(*unstructured.Unstructured)
	if !ok {
		return nil, errors.New("a custom resource is not unstructured")
	}
	if u.GroupVersionKind() == to {
		return in, nil
	}
	out := &unstructured.Unstructured{Object: maps.Clone(u.Object)}
	out.SetGroupVersionKind(to)
	return out, nil
}

// converter returns how d's versions are converted. client finds the service of a webhook.
func converter(d *apiextensionsv1.CustomResourceDefinition, client api.Client) (convert, error) {
	c := d.Spec.Conversion
	if c == nil || c.Strategy != apiextensionsv1.WebhookConverter || c.Webhook == nil || c.Webhook.ClientConfig == nil {
		return relabel, nil
	}
	hook, err := newHook(c.Webhook.ClientConfig, client)
	if err != nil {
		return nil, fmt.Errorf("definition %s: conversion webhook: %w", d.Name, err)
	}
	return func(in api.Object, to schema.GroupVersionKind) (api.Object, error) {
		from := in.GetObjectKind().GroupVersionKind()
		if from == to {
			return in, nil
		}
		out, err := hook.convert(in.(*unstructured.Unstructured), to)
		if err != nil {
			return nil, fmt.Errorf("conversion webhook for %v failed: %w", from, err)
		}
		return out, nil
	}, nil
}

// A hook asks a conversion webhook.
type hook struct {
	url    string
	client *http.Client
}

func newHook(c *apiextensionsv1.WebhookClientConfig, client api.Client) (*hook, error) {
	secure := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(c.CABundle) > 0 {
		secure.RootCAs = x509.NewCertPool()
		if !secure.RootCAs.AppendCertsFromPEM(c.CABundle) {
			return nil, errors.New("caBundle has no certificate")
		}
	}
	transport := &http.Transport{TLSClientConfig: secure, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute}
	h := &hook{client: &http.Client{Transport: transport, Timeout: conversionTimeout}}
	if c.URL != nil {
		h.url = *c.URL
		return h, nil
	}
	if c.Service == nil {
		return nil, errors.New("neither a url nor a service is given")
	}
	to := url.URL{Scheme: "https", Host: c.Service.Name + "." + c.Service.Namespace + ".svc"}
	if c.Service.Path != nil {
		to.Path = *c.Service.Path
	}
	h.url = to.String()
	port := int32(443)
	if c.Service.Port != nil {
		port = *c.Service.Port
	}
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		address, err := endpoint(client, c.Service.Namespace, c.Service.Name, port)
		if err != nil {
			return nil, err
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	return h, nil
}

// endpoint picks a ready pod behind a service's port.
func endpoint(client api.Client, namespace, name string, port int32) (string, error) {
	svc, ok := api.Services.View(client).Get(namespace, name)
	if !ok {
		return "", fmt.Errorf("service %s/%s not found", namespace, name)
	}
	var ready []string
	for _, p := range svc.Spec.Ports {
		if p.Port == port {
			ready = append(ready, pods(api.EndpointSlices.View(client).ByIndex(api.ByService, namespace+"/"+name), p)...)
		}
	}
	if len(ready) == 0 {
		return "", fmt.Errorf("no endpoints available for service %q", name)
	}
	return ready[rand.IntN(len(ready))], nil
}

func pods(slices []*discoveryv1.EndpointSlice, p corev1.ServicePort) []string {
	var out []string
	for _, s := range slices {
		for _, at := range s.Ports {
			if at.Port == nil || at.Name == nil && p.Name != "" || at.Name != nil && *at.Name != p.Name {
				continue
			}
			for _, e := range s.Endpoints {
				if (e.Conditions.Ready == nil || *e.Conditions.Ready) && len(e.Addresses) > 0 {
					out = append(out, net.JoinHostPort(e.Addresses[0], strconv.Itoa(int(*at.Port))))
				}
			}
		}
	}
	return out
}

// convert sends one object and takes its new form; of its metadata a webhook may only change labels and
// annotations.
func (h *hook) convert(in *unstructured.Unstructured, to schema.GroupVersionKind) (*unstructured.Unstructured, error) {
	review := apiextensionsv1.ConversionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: apiextensionsv1.SchemeGroupVersion.String(), Kind: "ConversionReview"},
		Request: &apiextensionsv1.ConversionRequest{
			UID:               uuid.NewUUID(),
			DesiredAPIVersion: to.GroupVersion().String(),
			Objects:           []runtime.RawExtension{{Object: in}},
		},
	}
	answer, err := h.post(&review)
	if err != nil {
		return nil, err
	}
	switch {
	case answer.Response == nil:
		return nil, errors.New("the answer has no response")
	case answer.Response.UID != review.Request.UID:
		return nil, fmt.Errorf("expected response.uid=%q, got %q", review.Request.UID, answer.Response.UID)
	case answer.Response.Result.Status != metav1.StatusSuccess:
		return nil, errors.New(answer.Response.Result.Message)
	case len(answer.Response.ConvertedObjects) != 1:
		return nil, fmt.Errorf("expected 1 converted object, got %d", len(answer.Response.ConvertedObjects))
	}
	out := &unstructured.Unstructured{}
	if err := out.UnmarshalJSON(answer.Response.ConvertedObjects[0].Raw); err != nil {
		return nil, fmt.Errorf("converted object: %w", err)
	}
	if have := out.GroupVersionKind(); have != to {
		return nil, fmt.Errorf("converted object is a %v, wanted a %v", have, to)
	}
	labels, annotations := out.GetLabels(), out.GetAnnotations()
	out.Object["metadata"] = runtime.DeepCopyJSONValue(in.Object["metadata"])
	out.SetLabels(labels)
	out.SetAnnotations(annotations)
	return out, nil
}

func (h *hook) post(review *apiextensionsv1.ConversionReview) (*apiextensionsv1.ConversionReview, error) {
	body, err := json.Marshal(review)
	if err != nil {
		return nil, err
	}
	res, err := h.client.Post(h.url, "application/json", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxReview))
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", h.url, res.Status)
	}
	answer := &apiextensionsv1.ConversionReview{}
	return answer, json.Unmarshal(text, answer)
}
