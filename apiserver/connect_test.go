package apiserver_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/apiserver/admission"
	"clipper/apiserver/pipeline"
	"clipper/apiserver/servertest"
)

// noAttach refuses to attach to stdin, and remembers what it was shown.
type noAttach struct{ shown []byte }

func (n *noAttach) Validate(_ context.Context, a *admission.Attributes) error {
	if a.Operation != admission.Connect {
		return nil
	}
	n.shown, _ = json.Marshal(a.Object)
	return errors.NewForbidden(schema.GroupResource{Resource: "pods/" + a.Subresource}, a.Name, nil)
}

// TestConnectAdmission: admission sees what is asked of a stream, and can refuse it.
func TestConnectAdmission(t *testing.T) {
	refuse := &noAttach{}
	s := start(t, servertest.Options{Pipeline: func(p *pipeline.Pipeline) {
		p.Admit(admission.NewChain(admission.Plugin{Name: "NoAttach", Validate: refuse}))
	}})
	res, body := call{method: "POST", path: "/api/v1/namespaces/default/pods/p/attach?stdin=true&container=c"}.do(t, s)
	if res.StatusCode != 403 || !strings.Contains(string(body), `pods/attach \"p\" is forbidden`) {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	for _, want := range []string{`"kind":"PodAttachOptions"`, `"stdin":true`, `"container":"c"`} {
		if !strings.Contains(string(refuse.shown), want) {
			t.Errorf("shown %s, without %s", refuse.shown, want)
		}
	}
}
