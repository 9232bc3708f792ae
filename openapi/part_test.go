package openapi

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"clipper/catalogue"
)

func TestPartsSurviveEncoding(t *testing.T) {
	p := part{{inPaths, "/apis/a/v1/bs", []byte(`{"get":{}}`)}, {inDefinitions, "", nil}, {inDefinitions, "b", bytes.Repeat([]byte("x"), 300)},
		{section: inParameters, name: "limit-x"}, {section: asReferences, name: "io.k8s.Y"}}
	data := p.encode()
	got, err := decodePart(data)
	if err != nil || !slices.EqualFunc(got, p, func(a, b entry) bool {
		return a.section == b.section && a.name == b.name && bytes.Equal(a.text, b.text)
	}) {
		t.Errorf("decoded: %v, %v", got, err)
	}
	whole := 0
	for n := range len(data) {
		if _, err := decodePart(data[:n]); err == nil {
			whole++
		}
	}
	if whole != len(p) { // nothing, and what ends between two entries
		t.Errorf("%d beginnings are taken for parts", whole)
	}
	if _, err := decodePart([]byte{byte(sections), 0, 0}); err == nil {
		t.Error("there is no such section")
	}
}

// FuzzPart: what is broken is refused, what is not says the same again.
func FuzzPart(f *testing.F) {
	f.Add(part{{inPaths, "/a", []byte("{}")}, {section: asReferences, name: "b"}}.encode())
	f.Add([]byte{0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := decodePart(data)
		if err != nil {
			return
		}
		if again, err := decodePart(p.encode()); err != nil || fmt.Sprint(again) != fmt.Sprint(p) {
			t.Errorf("%v became %v, %v", p, again, err)
		}
	})
}

// TestPartsAreMadeOnce: whatever comes and goes beside a kind, its own part of the document of version 2 is made once, and
// the document is that of a server that has just started.
func TestPartsAreMadeOnce(t *testing.T) {
	var made atomic.Int32
	kind := func(i int) *catalogue.Resource {
		r := namesake(fmt.Sprintf("g%d.example.com", i%3), "v1", fmt.Sprintf("Kind%d", i), fmt.Sprintf("com.example.g%d.v1.Kind%d", i%3, i))
		schema, kept := r.Custom.Schema, sync.Map{}
		r.Custom.Schema = func(of catalogue.OpenAPI) (catalogue.Schema, error) { made.Add(1); return schema(of) }
		r.Custom.Keep = func(name string, make func() ([]byte, error)) ([]byte, error) {
			once, _ := kept.LoadOrStore(name, sync.OnceValues(make))
			return once.(func() ([]byte, error))()
		}
		return r
	}
	kinds, present := []*catalogue.Resource{kind(0), kind(1), kind(2), kind(3), kind(4)}, testResources()
	resources := func() []*catalogue.Resource { return present }
	documents := New(resources)
	read := func(d *Documents, media string) []byte { return servedV2(t, d, media) }
	for _, n := range []int{0, 1, 3, 5, 2, 4, 0, 5} {
		present = append(testResources(), kinds[:n]...)
		documents.Invalidate()
		for _, media := range []string{mediaJSON, mediaProtoV2} {
			if !bytes.Equal(read(documents, media), read(New(resources), media)) {
				t.Errorf("%d kinds, %s: the document is not that of a new server", n, media)
			}
		}
	}
	if int(made.Load()) != len(kinds) {
		t.Errorf("schemas were written %d times", made.Load())
	}
}

// TestOneDocumentAtATime: who asks for a document of version 2 while one is made waits, and gets the latest.
func TestOneDocumentAtATime(t *testing.T) {
	var mu sync.Mutex
	making, most, total := 0, 0, 0
	kind := namesake("example.com", "v1", "Shirt", "com.example.v1.Shirt")
	keep := kind.Custom.Keep
	kind.Custom.Keep = func(name string, make func() ([]byte, error)) ([]byte, error) {
		mu.Lock()
		making++
		most, total = max(most, making), total+1
		mu.Unlock()
		defer func() { mu.Lock(); making--; mu.Unlock() }()
		return keep(name, make)
	}
	documents := New(func() []*catalogue.Resource { return append(testResources(), kind) })
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			documents.Invalidate()
			w := httptest.NewRecorder()
			documents.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/openapi/v2", nil))
			if w.Code != http.StatusOK || !bytes.Contains(w.Body.Bytes(), []byte("com.example.v1.Shirt")) {
				t.Errorf("%d %.100s", w.Code, w.Body)
			}
		})
	}
	readers.Wait()
	if most != 1 || total > 8 {
		t.Errorf("%d were made, %d at a time", total, most)
	}
}

// servedV2 is what d answers who asks for version 2 in a form.
func servedV2(t *testing.T, d *Documents, media string) []byte {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/openapi/v2", nil)
	r.Header.Set("Accept", media)
	w := httptest.NewRecorder()
	if d.ServeHTTP(w, r); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Body.Bytes()
}
