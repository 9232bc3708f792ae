package aggregation

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
)

// fetchDiscovery asks the extension's server what it serves. A server without aggregated discovery is asked
// in the older way.
func (e *Extension) fetchDiscovery(ctx context.Context) (apidiscoveryv2.APIVersionDiscovery, error) {
	a, err := e.backend.ask(ctx, "/apis", http.Header{"Accept": {discovery.AcceptV2 + "," + discovery.AcceptV2Beta1}})
	switch {
	case err != nil:
		return apidiscoveryv2.APIVersionDiscovery{}, err
	case a.code == http.StatusServiceUnavailable:
		return apidiscoveryv2.APIVersionDiscovery{}, fmt.Errorf("service %s/%s:%d returned non-success response code: %d", e.backend.namespace, e.backend.name, e.backend.port, a.code)
	case a.code == http.StatusOK && isAggregated(a.header.Get("Content-Type")):
		return e.pick(a.body)
	}
	if a, err = e.backend.ask(ctx, e.Path(), http.Header{"Accept": {"application/json"}}); err != nil {
		return apidiscoveryv2.APIVersionDiscovery{}, err
	}
	if a.code != http.StatusOK {
		return apidiscoveryv2.APIVersionDiscovery{}, fmt.Errorf("failed to download legacy discovery for %s: status %d", e.Path(), a.code)
	}
	list := &metav1.APIResourceList{}
	if err := json.Unmarshal(a.body, list); err != nil {
		return apidiscoveryv2.APIVersionDiscovery{}, err
	}
	return apidiscoveryv2.APIVersionDiscovery{Version: e.Version, Resources: FromLegacy(list.APIResources)}, nil
}

func isAggregated(contentType string) bool {
	for _, version := range []string{"v2", "v2beta1"} {
		gvk := apidiscoveryv2.SchemeGroupVersion.WithKind("APIGroupDiscoveryList")
		gvk.Version = version
		if ok, err := discovery.ContentTypeIsGVK(contentType, gvk); ok && err == nil {
			return true
		}
	}
	return false
}

// pick finds the extension's group version in an aggregated document. Both versions of the document have the
// same fields.
func (e *Extension) pick(body []byte) (apidiscoveryv2.APIVersionDiscovery, error) {
	list := &apidiscoveryv2.APIGroupDiscoveryList{}
	if err := json.Unmarshal(body, list); err != nil {
		return apidiscoveryv2.APIVersionDiscovery{}, err
	}
	for _, g := range list.Items {
		for _, v := range g.Versions {
			if g.Name == e.Group && v.Version == e.Version {
				fillKinds(v.Resources)
				return v, nil
			}
		}
	}
	return apidiscoveryv2.APIVersionDiscovery{Version: e.Version}, nil // it does not serve the version, and says so
}

// fillKinds gives every entry a kind: older clients trip over those without.
func fillKinds(resources []apidiscoveryv2.APIResourceDiscovery) {
	for i := range resources {
		if resources[i].ResponseKind == nil {
			resources[i].ResponseKind = &metav1.GroupVersionKind{}
		}
		for j := range resources[i].Subresources {
			if resources[i].Subresources[j].ResponseKind == nil {
				resources[i].Subresources[j].ResponseKind = &metav1.GroupVersionKind{}
			}
		}
	}
}

// fetchOpenAPI asks for the schemas: where the group version's document of version 3 is, and the whole
// document of version 2, unless it is still the one known. Servers may lack either.
func (e *Extension) fetchOpenAPI(ctx context.Context, known *Document) (v3 string, v2 *Document) {
	if a, err := e.backend.ask(ctx, "/openapi/v3", http.Header{"Accept": {"application/json"}}); err == nil && a.code == http.StatusOK {
		var index struct {
			Paths map[string]struct{ ServerRelativeURL string }
		}
		if json.Unmarshal(a.body, &index) == nil {
			v3 = index.Paths[e.Path()[1:]].ServerRelativeURL
		}
	}
	header := http.Header{"Accept": {"application/json"}, "Accept-Encoding": {"gzip"}}
	if known != nil && known.etag != "" {
		header.Set("If-None-Match", known.etag)
	}
	a, err := e.backend.ask(ctx, "/openapi/v2", header)
	switch {
	case err != nil || a.code == http.StatusNotModified:
		return v3, known
	case a.code != http.StatusOK:
		return v3, nil
	case a.header.Get("Content-Encoding") != "gzip":
		a.body = pack(a.body)
	}
	return v3, &Document{Packed: a.body, etag: a.header.Get("Etag")}
}

// pack compresses what a server sent as it is.
func pack(body []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(body) //nolint:errcheck // to memory
	w.Close()     //nolint:errcheck
	return out.Bytes()
}
