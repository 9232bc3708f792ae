package apiserver_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/apiserver/aggregation"
	"clipper/apiserver/servertest"
)

var rewrite = flag.Bool("rewrite", false, "write what is served into testdata")

const (
	plainAccept      = "application/json"
	aggregatedAccept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
)

type discoverer struct {
	*testing.T
	s *servertest.Server
}

func startDiscoverer(t *testing.T) discoverer {
	t.Helper()
	s, err := servertest.Start(t.TempDir(), servertest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return discoverer{t, s}
}

func (d discoverer) get(path string, header ...string) *http.Response {
	d.Helper()
	r, err := http.NewRequest(http.MethodGet, d.s.URL+path, nil)
	if err != nil {
		d.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+servertest.AdminToken)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := d.s.HTTPClient().Do(r)
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() { res.Body.Close() })
	return res
}

func (d discoverer) decode(path, accept string, into any) {
	d.Helper()
	if err := json.NewDecoder(d.get(path, "Accept", accept).Body).Decode(into); err != nil {
		d.Fatalf("%s: %v", path, err)
	}
}

// describe writes a resource down in one line, with what clients see of it.
func describeResource(gv string, r metav1.APIResource) string {
	verbs := strings.Join(r.Verbs, ",")
	if verbs == "create,delete,deletecollection,get,list,patch,update,watch" {
		verbs = "all"
	}
	scope := "cluster"
	if r.Namespaced {
		scope = "namespaced"
	}
	kind := r.Kind
	if r.Version != "" {
		kind = r.Group + "/" + r.Version + "/" + r.Kind
	}
	return strings.TrimRight(fmt.Sprintf("%s %s %s %s singular=%s short=%s categories=%s %s %s", gv, r.Name, kind, scope, r.SingularName,
		strings.Join(r.ShortNames, ","), strings.Join(r.Categories, ","), verbs, r.StorageVersionHash), " ")
}

// TestDiscoveryIsUpstreams compares all that is served by default with what a v1.36 server serves, which
// upstream keeps in api/discovery: groups, order, names, verbs, subresources, hashes.
func TestDiscoveryIsUpstreams(t *testing.T) {
	d := startDiscoverer(t)
	var groups metav1.APIGroupList
	d.decode("/apis", plainAccept, &groups)
	versions := []string{"/api/v1"}
	for _, g := range groups.Groups {
		if g.PreferredVersion != g.Versions[0] {
			t.Errorf("%s prefers %v", g.Name, g.PreferredVersion)
		}
		for _, v := range g.Versions {
			versions = append(versions, "/apis/"+v.GroupVersion)
		}
	}
	documents := map[string]apidiscoveryv2.APIVersionDiscovery{}
	for _, path := range []string{"/api", "/apis"} {
		var list apidiscoveryv2.APIGroupDiscoveryList
		d.decode(path, aggregatedAccept, &list)
		for _, g := range list.Items {
			for _, v := range g.Versions {
				documents[strings.TrimSuffix(path+"/"+g.Name, "/")+"/"+v.Version] = v
			}
		}
	}
	var out strings.Builder
	for _, path := range versions {
		var list metav1.APIResourceList
		d.decode(path, plainAccept, &list)
		for _, r := range list.APIResources {
			fmt.Fprintln(&out, describeResource(path, r))
		}
		want, err := json.Marshal(aggregation.FromLegacy(list.APIResources))
		if err != nil {
			t.Fatal(err)
		}
		if have, err := json.Marshal(documents[path].Resources); err != nil || string(have) != string(want) {
			t.Errorf("%s: the aggregated document differs:\n%s\n%s", path, have, want)
		}
	}
	const file = "testdata/discovery"
	if *rewrite {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	have, wanted := strings.Split(out.String(), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(have), len(wanted)) {
		if i >= len(have) || i >= len(wanted) || have[i] != wanted[i] {
			t.Fatalf("line %d differs\nhave %v\nwant %v", i+1, have[min(i, len(have)):min(i+1, len(have))], wanted[min(i, len(wanted)):min(i+1, len(wanted))])
		}
	}
}

// TestAggregatedDiscovery: content types, entity tags, and what clients of other versions get.
func TestAggregatedDiscovery(t *testing.T) {
	d := startDiscoverer(t)
	for accept, want := range map[string]string{
		aggregatedAccept:                             aggregatedAccept,
		aggregatedAccept + ",application/json":       aggregatedAccept,
		"application/json;q=0.5," + aggregatedAccept: aggregatedAccept,
		"application/json," + aggregatedAccept:       aggregatedAccept,
		"application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json": "application/json",
		"application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList":    "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
		"": "application/json",
	} {
		if res := d.get("/apis", "Accept", accept); res.StatusCode != 200 || res.Header.Get("Content-Type") != want {
			t.Errorf("%q: %d %s, want %s", accept, res.StatusCode, res.Header.Get("Content-Type"), want)
		}
	}
	res := d.get("/apis", "Accept", aggregatedAccept)
	tag := res.Header.Get("Etag")
	if len(tag) != 130 || res.Header.Get("Cache-Control") != "public" || !strings.HasPrefix(res.Header.Get("Vary"), "Accept") {
		t.Errorf("headers %v", res.Header)
	}
	if res := d.get("/apis", "Accept", aggregatedAccept, "If-None-Match", tag); res.StatusCode != http.StatusNotModified || res.Header.Get("Etag") != tag {
		t.Errorf("same tag: %d", res.StatusCode)
	}
	var list struct {
		Kind, APIVersion string
		Items            []struct{ Metadata struct{ Name string } }
	}
	d.decode("/apis", aggregatedAccept, &list)
	if list.Kind != "APIGroupDiscoveryList" || list.APIVersion != "apidiscovery.k8s.io/v2" || list.Items[0].Metadata.Name != "apiregistration.k8s.io" {
		t.Errorf("%+v", list)
	}
}

// TestLegacyVersions: the oldest document says its kind and no version, as upstream's.
func TestLegacyVersions(t *testing.T) {
	d := startDiscoverer(t)
	var document map[string]any
	d.decode("/api", plainAccept, &document)
	if version, said := document["apiVersion"]; document["kind"] != "APIVersions" || said {
		t.Errorf("kind %v, apiVersion %v", document["kind"], version)
	}
	d.decode("/apis", plainAccept, &document)
	if document["kind"] != "APIGroupList" || document["apiVersion"] != "v1" {
		t.Errorf("kind %v, apiVersion %v", document["kind"], document["apiVersion"])
	}
}
