package apiserver

import (
	"math/rand/v2"
	"net"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/apiserver/pipeline"
	"clipper/store"
)

// endpoint picks one ready address of a service's port at random.
func (q *request) endpoint(svc *corev1.Service, port string) (string, bool) {
	r := q.s.pipeline.Table().Resource(api.EndpointSlices.Resource)
	if r == nil {
		return "", false
	}
	var hosts []string
	snap := q.s.pipeline.Snapshot(&pipeline.Request{Resource: r})
	snap.Ascend(svc.Namespace, store.Key{}, func(item *store.Item) bool {
		slice := item.Object.(*discoveryv1.EndpointSlice)
		if slice.Labels[discoveryv1.LabelServiceName] == svc.Name {
			hosts = append(hosts, readyHosts(slice, port)...)
		}
		return true
	})
	if len(hosts) == 0 {
		return "", false
	}
	return hosts[rand.IntN(len(hosts))], true
}

func readyHosts(slice *discoveryv1.EndpointSlice, port string) []string {
	var out []string
	for _, p := range slice.Ports {
		if p.Port == nil || p.Name != nil && *p.Name != port || p.Name == nil && port != "" {
			continue
		}
		for _, e := range slice.Endpoints {
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				for _, a := range e.Addresses {
					out = append(out, net.JoinHostPort(a, strconv.Itoa(int(*p.Port))))
				}
			}
		}
	}
	return out
}

// validateLogQuery refuses log options that make no sense, as upstream does.
func validateLogQuery(values url.Values) error {
	var faults field.ErrorList
	number := func(name string, min int64) {
		text := values.Get(name)
		if text == "" {
			return
		}
		n, err := strconv.ParseInt(text, 10, 64)
		switch {
		case err != nil:
			faults = append(faults, field.Invalid(field.NewPath(name), text, err.Error()))
		case n < min && min == 0:
			faults = append(faults, field.Invalid(field.NewPath(name), n, "must be greater than or equal to 0"))
		case n < min:
			faults = append(faults, field.Invalid(field.NewPath(name), n, "must be greater than 0"))
		}
	}
	number("tailLines", 0)
	number("limitBytes", 1)
	number("sinceSeconds", 1)
	if values.Get("sinceSeconds") != "" && values.Get("sinceTime") != "" {
		faults = append(faults, field.Forbidden(field.NewPath(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"))
	}
	if stream := values.Get("stream"); stream != "" && !strings.Contains(" All Stdout Stderr ", " "+stream+" ") {
		faults = append(faults, field.NotSupported(field.NewPath("stream"), stream, []string{"All", "Stderr", "Stdout"}))
	}
	if len(faults) == 0 {
		return nil
	}
	return apierrors.NewInvalid(schema.GroupKind{Kind: "PodLogOptions"}, "", faults)
}
