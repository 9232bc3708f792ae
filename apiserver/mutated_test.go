package apiserver_test

import (
	"encoding/json"
	"math/rand"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/randfill"

	"clipper/api/envelope"
	"clipper/apiserver/served"
	"clipper/apiserver/servertest"
	"clipper/store"
)

// TestMutatedBodies: bodies of every kind that are broken in any way are the client's fault, never the server's.
func TestMutatedBodies(t *testing.T) {
	const each = 8
	s := start(t, servertest.Options{})
	random := rand.New(rand.NewSource(1))
	fill := fuzzer.FuzzerFor(metafuzzer.Funcs, random, serializer.NewCodecFactory(scheme.Scheme)).NilChance(0.6).NumElements(0, 2).MaxDepth(8)
	for _, r := range s.Live.Table().Resources {
		k := s.Live.Table().Storage(r)
		if r.Prefix == "" || k == nil {
			continue
		}
		path := collection(k)
		here := stored(t, s, k, path)
		for range each {
			text, proto := bodies(t, k, fill)
			for _, c := range []call{
				{method: "POST", path: path + "?dryRun=All", contentType: jsonT, body: mutate(random, text)},
				{method: "POST", path: path + "?dryRun=All", contentType: protoT, body: proto[:4] + mutate(random, proto[4:])},
				{method: "PUT", path: here + "?dryRun=All", contentType: protoT, body: proto[:4] + mutate(random, proto[4:])},
				{method: "PATCH", path: here + "?dryRun=All", contentType: mergeT, body: mutate(random, text)},
				{method: "PATCH", path: here + "?dryRun=All", contentType: smpT, body: mutate(random, text)},
				{method: "PATCH", path: here + "?dryRun=All&fieldManager=m&force=true", contentType: applyT, body: mutate(random, text)},
			} {
				if res, answer := c.do(t, s); res.StatusCode >= 500 && !known5xx(string(answer)) {
					t.Errorf("%s %s %s: %d %.300s\n%.2000q", c.method, c.path, c.contentType, res.StatusCode, answer, c.body)
				}
			}
		}
	}
}

// known5xx are answers that upstream gives, too.
func known5xx(answer string) bool {
	for _, text := range []string{
		"resourceVersion should not be set on objects to be created",
		"failed to create typed patch object", // by an apply: a field that the schema does not know
		"failed to convert new object",        // a value that the schema takes and the type does not
		"unknown patch type",                  // of a strategic merge patch
	} {
		if strings.Contains(answer, text) {
			return true
		}
	}
	return false
}

func collection(k *served.Kind) string {
	root := "/apis/" + k.GVK.GroupVersion().String()
	if k.GVK.Group == "" {
		root = "/api/v1"
	}
	if k.Namespaced {
		root += "/namespaces/default"
	}
	return root + "/" + k.GVR.Resource
}

// stored has an object without anything in it past all validation, and returns its path.
func stored(t *testing.T, s *servertest.Server, k *served.Kind, path string) string {
	t.Helper()
	obj := k.New()
	obj.SetName("x")
	key := store.Key{Resource: k.Resource.Prefix, Name: "x"}
	if k.Namespaced {
		obj.SetNamespace("default")
		key.Namespace = "default"
	}
	if _, err := s.Store.Commit(t.Context(), store.Write{Key: key, Object: obj}); err != nil {
		t.Fatal(err)
	}
	return path + "/x"
}

func bodies(t *testing.T, k *served.Kind, fill *randfill.Filler) (text, proto string) {
	t.Helper()
	obj := k.Empty()
	fill.Fill(obj)
	obj.GetObjectKind().SetGroupVersionKind(k.GVK)
	obj.SetName("x")
	obj.SetNamespace("")
	obj.SetResourceVersion("")
	obj.SetManagedFields(nil)
	asJSON, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	asProto, err := envelope.NewHead(k.GVK).Marshal(obj.(envelope.Message))
	if err != nil {
		t.Fatal(err)
	}
	return string(asJSON), string(asProto)
}

// mutate breaks a body in some places, or in none.
func mutate(random *rand.Rand, body string) string {
	b := []byte(body)
	for range random.Intn(4) {
		i := random.Intn(len(b))
		switch random.Intn(4) {
		case 0:
			b[i] = byte(random.Intn(256))
		case 1:
			b[i] ^= 1 << random.Intn(8)
		case 2:
			j := min(len(b), i+random.Intn(20))
			b = append(b[:i:i], b[j:]...)
		default:
			j := min(len(b), i+random.Intn(20))
			b = append(b[:j:j], b[i:]...)
		}
		if len(b) == 0 {
			break
		}
	}
	return string(b)
}
