package pipeline

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/api"
	"clipper/catalogue"
)

// Limits count for lists of any state where upstream has no cache.
func TestPagesWithoutCache(t *testing.T) {
	pods, secrets := api.Pods.Resource, api.Secrets.Resource
	named := map[schema.GroupResource]bool{pods.GroupResource(): true, secrets.GroupResource(): false}
	for name, tt := range map[string]struct {
		cache    WatchCache
		resource api.Resource
		revision string
		want     int64
	}{
		"cached":               {WatchCache{}, pods, "0", 0},
		"cached, the latest":   {WatchCache{}, pods, "", 6},
		"events never are":     {WatchCache{}, api.CoreEvents.Resource, "0", 6},
		"all off":              {WatchCache{Off: true, Named: named}, pods, "0", 6},
		"off by name":          {WatchCache{Named: named}, secrets, "0", 6},
		"off unless named":     {WatchCache{NoDefault: true, Named: named}, api.Nodes.Resource, "0", 6},
		"named, so not off":    {WatchCache{NoDefault: true, Named: named}, pods, "0", 0},
		"not named, so cached": {WatchCache{Named: named}, api.Nodes.Resource, "0", 0},
	} {
		p := &Pipeline{cache: tt.cache}
		req := &Request{Resource: &catalogue.Resource{Resource: tt.resource}}
		if got := p.pageSize(req, &metav1.ListOptions{ResourceVersion: tt.revision, Limit: 6}); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}
