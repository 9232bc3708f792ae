package aggregation_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// TestDiscoveryOfUnavailable: a server that fails its check is not available, but clients see what it says that it serves.
func TestDiscoveryOfUnavailable(t *testing.T) {
	f := setUp(t, true)
	well := f.x.Config.Handler
	f.x.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == groupVersion {
			http.Error(w, "unwell", http.StatusInternalServerError)
			return
		}
		well.ServeHTTP(w, r)
	})
	f.register(func(*apiregistrationv1.APIServiceSpec) {})
	f.serve()
	f.condition("FailedDiscoveryCheck")
	f.until("its discovery is current", func() bool {
		for _, g := range f.aggregated().Items {
			if g.Name == "wardle.example.com" {
				v := g.Versions[0]
				return v.Freshness == apidiscoveryv2.DiscoveryFreshnessCurrent && len(v.Resources) == 1
			}
		}
		return false
	})
}

// TestPlainOpenAPI: schemas from servers that do not compress are published too.
func TestPlainOpenAPI(t *testing.T) {
	f := setUp(t, true)
	rest := f.x.Config.Handler
	f.x.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/openapi/v2" {
			fmt.Fprint(w, `{"swagger":"2.0","info":{"title":"wardle","version":"1"},"paths":{"/apis/wardle.example.com/v1alpha1/":{}}}`)
			return
		}
		rest.ServeHTTP(w, r)
	})
	f.register(func(*apiregistrationv1.APIServiceSpec) {})
	f.serve()
	f.condition("Passed")
	f.until("its paths are in the document", func() bool {
		_, text := f.get("/openapi/v2", "application/json")
		return strings.Contains(text, `"/apis/wardle.example.com/v1alpha1/"`)
	})
}
