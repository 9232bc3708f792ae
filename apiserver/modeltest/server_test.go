package modeltest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"clipper/apiserver"
	"clipper/apiserver/servertest"
)

// A server is what a driver talks to.
type server struct {
	base   string
	client *http.Client
	stop   func() error
	again  func() (*server, error) // starts it when it was stopped; nil: nobody may stop it
}

// startServer starts a server of the test's own, or uses the one that a kubeconfig names.
func startServer(t *testing.T, kubeconfig string) (*server, error) {
	if kubeconfig != "" {
		config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return nil, err
		}
		return newServer(config, func() error { return nil })
	}
	return startOn(t.TempDir())
}

// startOn starts a server of the test's own on what is stored in dir.
func startOn(dir string) (*server, error) {
	started, err := servertest.Start(dir, servertest.Options{Server: func(o *apiserver.Options) { o.Features.CBOR = true }})
	if err != nil {
		return nil, err
	}
	s, err := newServer(started.Config, started.Stop)
	if err == nil {
		s.again = func() (*server, error) { return startOn(dir) }
	}
	return s, err
}

func newServer(config *rest.Config, stop func() error) (*server, error) {
	client, err := rest.HTTPClientFor(config)
	return &server{base: config.Host, client: client, stop: stop}, err
}

// A call is a request before it is written in a format.
type call struct {
	method, path string
	contentType  string
	body         any    // as JSON
	as           string // in whose name
}

// An answer is what came back, whatever it was written in.
type answer struct {
	code    int
	object  map[string]any
	warning string
}

func (a answer) String() string {
	return fmt.Sprintf("%d %v %s", a.code, a.object["message"], a.warning)
}

// A manner is how a client speaks: the format of its bodies, that of answers, and what it wants to see of objects.
type manner struct {
	body, answer format
	form         string // of objects: "", "PartialObjectMetadata", "Table"
	list         bool
}

// accept is the header that asks for it.
func (m manner) accept() string {
	switch {
	case m.form == "":
		return m.answer.mediaType
	case m.list && m.form == "PartialObjectMetadata":
		return m.answer.mediaType + ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
	}
	return m.answer.mediaType + ";as=" + m.form + ";g=meta.k8s.io;v=v1"
}

var plainly = manner{body: asJSON, answer: asJSON}

// send makes a request in some manner and reads the answer.
func (s *server) send(c call, in manner) (answer, error) {
	r, err := c.request(s.base, in)
	if err != nil {
		return answer{}, err
	}
	res, err := s.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{code: res.StatusCode, warning: res.Header.Get("Warning")}
	want := in.answer
	if in.form != "" && a.code >= http.StatusBadRequest {
		want = asJSON // an error has no such form, so that nothing that was asked for fits
	}
	if got, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";"); got != want.mediaType {
		return a, fmt.Errorf("%s %s: %d, an answer in %q, want %q: %s", c.method, c.path, a.code, got, want.mediaType, data)
	}
	text, err := want.decode(data)
	if err == nil {
		a.object, err = decodeJSON(text)
	}
	if err != nil {
		return a, fmt.Errorf("%s %s: %d, an answer in %s: %w", c.method, c.path, a.code, want.mediaType, err)
	}
	return a, nil
}

func (c call) request(base string, in manner) (*http.Request, error) {
	text, err := c.text(in)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequest(c.method, base+c.path, strings.NewReader(string(text)))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", in.accept())
	switch c.contentType {
	case "":
	case jsonT:
		r.Header.Set("Content-Type", in.body.mediaType)
	default:
		r.Header.Set("Content-Type", c.contentType)
	}
	if c.as != "" {
		r.Header.Set("Impersonate-User", c.as)
	}
	return r, nil
}

// text is the body as it is sent.
func (c call) text(in manner) ([]byte, error) {
	if c.body == nil {
		return nil, nil
	}
	text, err := json.Marshal(c.body)
	if err != nil || c.contentType != jsonT {
		return text, err
	}
	return in.body.encode(text)
}

// prepare makes the server what the model begins with: empty, but for the custom resource's definition.
func (s *server) prepare() error {
	for _, name := range namespaces {
		body := map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}}
		if err := s.ensure(call{method: "POST", path: "/api/v1/namespaces", contentType: jsonT, body: body}); err != nil {
			return err
		}
	}
	definition := call{method: "POST", path: "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", contentType: jsonT, body: json.RawMessage(gizmoDefinition)}
	if err := s.ensure(definition); err != nil {
		return err
	}
	for _, d := range kinds["gizmos"].doors {
		if err := s.serves(d); err != nil {
			return err
		}
	}
	for kind := range kinds {
		if err := s.empty(kind); err != nil {
			return err
		}
	}
	return nil
}

// ensure creates an object that may be there from an earlier run.
func (s *server) ensure(c call) error {
	a, err := s.send(c, plainly)
	if err != nil || a.code != http.StatusCreated && a.code != http.StatusConflict {
		return fmt.Errorf("%s: %v %w", c.path, a, err)
	}
	return nil
}

// serves waits for a version of the custom resource.
func (s *server) serves(d door) error {
	for deadline := time.Now().Add(20 * time.Second); ; {
		a, err := s.send(call{method: "GET", path: d.path + "/gizmos"}, plainly)
		if err == nil && a.code == http.StatusOK {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the custom resource is not served: %v %w", a, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// empty ends what an earlier run has left.
func (s *server) empty(kind string) error {
	for _, namespace := range kinds[kind].places() {
		k := modelKey{kind: kind, namespace: namespace}
		a, err := s.send(call{method: "GET", path: k.collection(kinds[kind].doors[0])}, plainly)
		if err != nil {
			return err
		}
		for _, item := range items(a.object) {
			found, o, _ := observed(item.(map[string]any))
			found.kind = kind
			path := found.path(kinds[kind].doors[0])
			if len(o.finalizers) > 0 {
				patch := json.RawMessage(`{"metadata":{"finalizers":null}}`)
				if _, err := s.send(call{method: "PATCH", path: path, contentType: mergeT, body: patch}, plainly); err != nil {
					return err
				}
			}
			a, err := s.send(call{method: "DELETE", path: path + "?gracePeriodSeconds=0&propagationPolicy=Background"}, plainly)
			if err != nil || a.code != http.StatusOK && a.code != http.StatusNotFound {
				return fmt.Errorf("%s is in the way: %v %w", path, a, err)
			}
		}
	}
	return nil
}

func (k modelKey) collection(through door) string {
	if k.namespace == "" {
		return through.path + "/" + k.kind
	}
	return through.path + "/namespaces/" + k.namespace + "/" + k.kind
}

func (k modelKey) path(through door) string { return k.collection(through) + "/" + k.name }
