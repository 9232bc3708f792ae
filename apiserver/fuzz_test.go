package apiserver

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	jsonserializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/handlers"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/client-go/kubernetes/scheme"

	"clipper/api"
	"clipper/apiserver/served"
	"clipper/catalogue"
)

// FuzzParseInfo: authorization hears of every request what upstream's would.
func FuzzParseInfo(f *testing.F) {
	for _, path := range []string{
		"/", "/api/v1", "/api/v1/pods", "/api/v1/namespaces/default/pods/p/log", "/apis/apps/v1/namespaces/d/deployments/x/scale",
		"/api/v1/watch/namespaces/x/pods/y", "/api/v1/namespaces/x/finalize", "/api/v1/namespaces/x/services/http:s:80/proxy/a//b/",
		"//api//v1//", "/apis//v1/x", "/api/v1/proxy/pods/a/b", "/api/v1/namespaces//pods", "/api/v1/namespaces/x/", "/api/v1//pods/x", "/apis/a/b/watch/c",
	} {
		f.Add("GET", path, "watch=1")
		f.Add("DELETE", path, "fieldSelector=metadata.name%3Da&labelSelector=a%3Db&limit=1")
		f.Add("GET", path, "fieldSelector=metadata.name%3Da&labelSelector=a%3Db&limit=1")
		f.Add("GET", path, "fieldSelector=metadata.name%3D..&watch=x")
		f.Add("GET", path, "fieldSelector=,metadata.name%3Da&limit=x&watch=0&watch=1")
		f.Add("HEAD", path, "fieldSelector=metadata.name%3D%3Da&labelSelector=(&watch=FALSE")
	}
	library := apirequest.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}
	f.Fuzz(func(t *testing.T, method, path, query string) {
		r := &http.Request{Method: method, URL: &url.URL{Path: path, RawQuery: query}, Header: http.Header{}}
		in, err := library.NewRequestInfo(r)
		if err != nil {
			return // a path that ends with "watch"; upstream answers 500, ours is not found
		}
		attributes, err := filters.GetAuthorizerAttributes(apirequest.WithRequestInfo(t.Context(), in))
		if err != nil {
			t.Fatal(err)
		}
		want := *attributes.(*authorizer.AttributesRecord)
		got := *(&request{r: r, info: parseInfo(r)}).attributes()
		if !want.ResourceRequest { // upstream does not look at what it is then
			got.APIGroup, got.APIVersion, want.APIGroup, want.APIVersion = "", "", "", ""
		}
		if (got.FieldSelectorParsingErr != nil) == (want.FieldSelectorParsingErr != nil) && (got.LabelSelectorParsingErr != nil) == (want.LabelSelectorParsingErr != nil) {
			got.FieldSelectorParsingErr, got.LabelSelectorParsingErr = want.FieldSelectorParsingErr, want.LabelSelectorParsingErr
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s %q ? %q:\n%+v, upstream\n%+v", method, path, query, got, want)
		}
	})
}

// FuzzNegotiate: every Accept header means what it means upstream, at every kind of endpoint.
func FuzzNegotiate(f *testing.F) {
	f.Add("application/json")
	f.Add("application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
	f.Add("application/vnd.kubernetes.protobuf;stream=watch;;=,*/*")
	f.Add("application/json,application/yaml;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;q=0.1")
	f.Add("application/cbor;as=PartialObjectMetadata;v=v1beta1;g=meta.k8s.io;sv=v1;pretty=1,application/*;q=0")
	withCBOR := serializer.NewCodecFactory(scheme.Scheme, serializer.WithSerializer(cbor.NewSerializerInfo)).SupportedMediaTypes()
	plain := serializer.NewCodecFactory(scheme.Scheme).SupportedMediaTypes()
	scope := &handlers.RequestScope{TableConvertor: rest.NewDefaultTableConvertor(schema.GroupResource{}), MetaGroupVersion: metav1.SchemeGroupVersion}
	custom := *scope
	for _, info := range withCBOR {
		if info.MediaType != typeProtobuf {
			custom.StandardSerializers = append(custom.StandardSerializers, info)
		}
	}
	endpoints := []struct {
		ability  ability
		types    []apiruntime.SerializerInfo
		restrict negotiation.EndpointRestrictions
	}{
		{ability{plainOnly, false}, plain, negotiation.DefaultEndpointRestrictions},
		{ability{metadata, false}, plain, &handlers.RequestScope{MetaGroupVersion: metav1.SchemeGroupVersion}},
		{ability{tables, false}, plain, scope},
		{ability{customs, false}, plain, &custom},
		{ability{plainOnly, true}, withCBOR, negotiation.DefaultEndpointRestrictions},
		{ability{tables, true}, withCBOR, scope},
		{ability{customs, true}, withCBOR, &custom},
		{ability{aggregatedOnly, false}, plain, aggregated.DiscoveryEndpointRestrictions},
	}
	f.Fuzz(func(t *testing.T, accept string) {
		if accept == "" {
			return
		}
		r := &http.Request{URL: &url.URL{}, Header: http.Header{"Accept": {accept}}}
		for _, e := range endpoints {
			theirs, acceptable := negotiation.NegotiateMediaTypeOptions(accept, e.types, e.restrict)
			var want media
			if acceptable {
				want = media{format: format(slices.Index(formatTypes[:], theirs.Accepted.MediaType)), pretty: theirs.Pretty}
				if theirs.Convert != nil {
					want.target = target{theirs.Convert.Kind, theirs.Convert.Version}
				}
			}
			take := negotiate
			if e.ability.targets == aggregatedOnly {
				take = func(r *http.Request, _ ability) (media, bool) { return wantsAggregated(r) }
			}
			if got, ok := take(r, e.ability); ok != acceptable || ok && got != want {
				t.Errorf("%q, %+v: %+v %v, upstream %+v %v", accept, e.ability, got, ok, want, acceptable)
			}
		}
	})
}

func FuzzSplitTarget(f *testing.F) {
	f.Add("https:web:443")
	f.Add("a:b:c:d")
	f.Fuzz(func(t *testing.T, s string) {
		if _, name, _, ok := splitTarget(s); ok && name == "" {
			t.Errorf("%q: no name", s)
		}
	})
}

func TestNegotiate(t *testing.T) {
	for accept, want := range map[string]media{
		"":                                 {format: formatJSON},
		"application/yaml;q=0.5,*/*;q=0.1": {format: formatYAML},
		"text/html,application/json;q=0.9": {format: formatJSON},
		"application/vnd.kubernetes.protobuf, application/json":               {format: formatProtobuf},
		"application/json;as=Table;v=v1;g=meta.k8s.io,application/json":       {target: target{"Table", "v1"}},
		"application/json;as=Unheard;v=v1;g=meta.k8s.io,application/yaml":     {format: formatYAML},
		"application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,*/*": {format: formatJSON},
		"application/cbor,application/json;q=0.9":                             {format: formatCBOR},
		"application/cbor;as=Table;v=v1;g=meta.k8s.io,application/json":       {format: formatJSON},
		"*/*,application/yaml;q=0.1":                                          {format: formatYAML},
	} {
		r := &http.Request{URL: &url.URL{}, Header: http.Header{"Accept": {accept}}}
		if got, ok := negotiate(r, ability{targets: tables, cbor: true}); !ok || got != want {
			t.Errorf("%q: %+v %v, want %+v", accept, got, ok, want)
		}
	}
}

// FuzzDecode: no body makes the server panic, and what it takes upstream's decoder reads in the same way.
func FuzzDecode(f *testing.F) {
	for _, body := range []string{
		`{"metadata":{"name":"a"},"data":{"k":"v"}}`, `{"kind":"ConfigMap","apiVersion":"v1","x":1,"data":{"a":"1","a":"2"}}`,
		"metadata: {name: a}\ndata: {k: v, k: w}\n", "a: &a [*a]", "k8s\x00\n\x0f\n\x02v1\x12\tConfigMap\x12\x00", `{"kind":7}`, "[[[", "\x00",
		"\xd9\xd9\xf7\xa2\x44kind\x49ConfigMap\x4aapiVersion\x42v1", "\xa1\x44data\xa2\x41a\x41b\x41a\x41c", "\xa1\x41x\xbb\xff\xff\xff\xff\xff\xff\xff\xff", strings.Repeat("\x81", 20000),
		"\xd9\xd9\xf7\xa1\x44data\xa1\x41a\xc1\x1a\x00\x00\x00\x00", "\xa1\x44kind\x5f\x41a\xff", "\xa1\x44data\xa1\x41a\xc2\x41\x01", "\xbf\xff",
	} {
		for format := range formatTypes {
			f.Add([]byte(body), format, "Warn")
		}
	}
	want := corev1.SchemeGroupVersion.WithKind("ConfigMap")
	readers := map[format]apiruntime.Decoder{
		formatJSON: jsonserializer.NewSerializerWithOptions(jsonserializer.DefaultMetaFactory, scheme.Scheme, scheme.Scheme, jsonserializer.SerializerOptions{}),
		formatCBOR: cbor.NewSerializer(scheme.Scheme, scheme.Scheme),
	}
	f.Fuzz(func(t *testing.T, body []byte, f int, validation string) {
		q := &request{s: &Server{}, w: httptest.NewRecorder(), r: httptest.NewRequest("POST", "/", nil), kind: &served.Kind{GVK: want, Resource: &catalogue.Resource{}}}
		into := &corev1.ConfigMap{}
		in := format(uint(f) % uint(len(formatTypes)))
		err := q.decode(in, body, into, want, validation)
		var custom unstructured.Unstructured
		q.kind.Resource = &catalogue.Resource{Custom: &catalogue.Custom{Prune: func(api.Object) ([]string, error) { return nil, nil }}}
		_ = q.decode(in, body, &custom, want, validation)
		_ = q.decodeDeleteOptions(body, &metav1.DeleteOptions{})
		_ = openCBORDeleteOptions(body, &metav1.DeleteOptions{})
		reader := readers[in]
		if err != nil || reader == nil {
			return
		}
		same := &corev1.ConfigMap{}
		if _, _, err := reader.Decode(body, &want, same); err != nil {
			t.Fatalf("%q is taken, and upstream says %v", body, err)
		}
		into.TypeMeta, same.TypeMeta = metav1.TypeMeta{}, metav1.TypeMeta{}
		if !equality.Semantic.DeepEqual(into, same) {
			t.Fatalf("%q: %v, upstream reads %v", body, into, same)
		}
	})
}

func FuzzLogOptions(f *testing.F) {
	f.Add("follow=true&tailLines=5&sinceTime=2020-01-01T00:00:00Z&stream=All")
	f.Add("sinceSeconds=-1&limitBytes=x&previous=")
	f.Fuzz(func(t *testing.T, query string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		o, err := logOptions(values)
		if err != nil || len(validateLogOptions(o)) > 0 {
			return
		}
		again, err := logOptions(logQuery(o))
		if err != nil {
			t.Fatalf("%q becomes %v, which is refused: %v", query, logQuery(o), err)
		}
		again.Container = o.Container
		if o.SinceTime != nil {
			again.SinceTime = o.SinceTime // to the second
		}
		if !equality.Semantic.DeepEqual(o, again) {
			t.Fatalf("%q: %v, the node is asked for %v", query, o, again)
		}
	})
}

func FuzzWarning(f *testing.F) {
	f.Add("text", 3)
	f.Add("\xff\x00", 1)
	f.Fuzz(func(t *testing.T, text string, times int) {
		var w warnings
		h := http.Header{}
		for i := range min(max(times, 0), 300) {
			w.add(h, text+strconv.Itoa(i))
		}
		if size := len(strings.Join(h.Values("Warning"), "")); size > 16*maxWarningRunes {
			t.Errorf("%d bytes of warnings", size)
		}
	})
}

// TestAnnouncedBodies: a body that is announced and does not come costs little.
func TestAnnouncedBodies(t *testing.T) {
	r := httptest.NewRequest("POST", "/", iotest.ErrReader(io.ErrUnexpectedEOF))
	r.ContentLength = maxBody
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 10 {
		if _, err := (&request{r: r}).readBody(); err == nil {
			t.Fatal("a body out of nothing")
		}
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > maxBody {
		t.Errorf("10 bodies that did not come took %d bytes", got)
	}
}
