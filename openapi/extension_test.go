package openapi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	openapiv2 "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"
	"k8s.io/kube-openapi/pkg/aggregator"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// foreign is the document of another server, about two group versions. Of the models that both know one says the same, one
// says it of another kind, and one something else, the same in both group versions; a parameter is another, and a name that something else could
// become is taken.
const foreign = `{"swagger":"2.0","info":{"title":"m","version":"1"},"paths":{
	"/apis/m.example.com/v1/things":{"get":{"operationId":"a","parameters":[{"$ref":"#/parameters/limit-1NfNmdNH"}],"responses":{"200":{"description":"OK","schema":{"$ref":"#/definitions/com.example.Thing"}}}}},
	"/apis/m.example.com/v2/things":{"get":{"operationId":"b","responses":{"200":{"description":"OK","schema":{"$ref":"#/definitions/com.example.Thing"}}}}},
	"/api/v1/nodes":{"get":{"operationId":"c","responses":{"200":{"description":"OK"}}}}},
	"parameters":{"limit-1NfNmdNH":{"name":"limit","in":"query","type":"string"},"other":{"name":"o","in":"query","type":"string"}},
	"definitions":{"com.example.Thing":{"type":"object","properties":{"a":{"$ref":"#/definitions/io.k8s.api.core.v1.Affinity"},"b":{"$ref":"#/definitions/io.k8s.api.core.v1.Affinity_v2"},
		"c":{"$ref":"#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.Time"},"d":{"$ref":"#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime"}}},
	"io.k8s.api.core.v1.Affinity":{"type":"object","description":"another"},"io.k8s.api.core.v1.Affinity_v2":{"type":"string"},
	"io.k8s.apimachinery.pkg.apis.meta.v1.Time":TIME,
	"io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime":{"type":"string","x-kubernetes-group-version-kind":[{"group":"m","kind":"Time","version":"v1"}]}}}`

// TestExtensionsAreTheLibrarys: the document is what upstream's merging of whole documents makes, in both forms.
func TestExtensionsAreTheLibrarys(t *testing.T) {
	body := func(d *Documents, media string) []byte { return servedV2(t, d, media) }
	read := func(text []byte) *spec.Swagger {
		out := &spec.Swagger{}
		if err := json.Unmarshal(text, out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	want := read(body(New(testResources), mediaJSON))
	if _, ok := want.Parameters["limit-1NfNmdNH"]; !ok {
		t.Fatal("there is no such parameter")
	}
	same, _ := json.Marshal(want.Definitions[metaModel+"Time"])
	text := strings.Replace(foreign, "TIME", string(same), 1)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	io.WriteString(z, text)
	z.Close()
	d, paths := New(testResources), []string{"apis/m.example.com/v1", "apis/m.example.com/v2", "api/v1"}
	d.Extend(func() (out []Extension) {
		for _, path := range paths {
			out = append(out, Extension{Path: path, V2: packed.Bytes()})
		}
		return out
	})
	for _, path := range paths {
		more := aggregator.FilterSpecByPathsWithoutSideEffects(read([]byte(text)), []string{"/" + path + "/"})
		if err := aggregator.MergeSpecsIgnorePathConflictRenamingDefinitionsAndParameters(want, more); err != nil {
			t.Fatal(err)
		}
	}
	got := body(d, mediaJSON)
	plain := func(v any) (out any) {
		text, err := json.Marshal(v)
		if err == nil {
			err = json.Unmarshal(text, &out)
		}
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if !reflect.DeepEqual(plain(read(got)), plain(want)) {
		t.Error("it is another document")
	}
	for _, name := range []string{"com.example.Thing", "io.k8s.api.core.v1.Affinity_v2", "io.k8s.api.core.v1.Affinity_v3"} {
		if _, ok := want.Definitions[name]; !ok {
			t.Errorf("there is no %s", name)
		}
	}
	wanted, err := openapiv2.ParseDocument(got)
	if err != nil {
		t.Fatal(err)
	}
	var message openapiv2.Document
	if err := proto.Unmarshal(body(d, mediaProtoV2), &message); err != nil || !proto.Equal(&message, wanted) {
		t.Errorf("in protobuf it is another document: %v", err)
	}
}

// TestForeignFaultsHideNothing: what cannot be said in protobuf is left out of it.
func TestForeignFaultsHideNothing(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	io.WriteString(z, `{"swagger":"2.0","paths":{"/apis/m/v1/x":{"get":{"responses":{"200":{"description":"OK","schema":{"$ref":"#/definitions/m.X"}}}}}},"definitions":{"m.X":{"nullable":true}}}`)
	z.Close()
	d := New(testResources)
	d.Extend(func() []Extension { return []Extension{{Path: "apis/m/v1", V2: packed.Bytes()}} })
	for media, want := range map[string]bool{mediaJSON: true, mediaProtoV2: false} {
		r := httptest.NewRequest(http.MethodGet, "/openapi/v2", nil)
		r.Header.Set("Accept", media)
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r)
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "io.k8s.api.apps.v1.Deployment") || strings.Contains(w.Body.String(), "m.X") != want {
			t.Errorf("%s: %d, %d bytes", media, w.Code, w.Body.Len())
		}
	}
}
