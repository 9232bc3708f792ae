package impersonation

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"reflect"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	upstream "k8s.io/apiserver/pkg/endpoints/filters/impersonation"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/kubernetes/scheme"
)

// some allows what its seed says, the same for the same question.
type some uint8

func (s some) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	h := fnv.New32a()
	fmt.Fprint(h, s, a.GetUser().GetName(), a.GetVerb(), a.GetAPIGroup(), a.GetResource(), a.GetSubresource(), a.GetNamespace(), a.GetName())
	switch n := h.Sum32() >> 8; {
	case s == 0 || s < 128 && n%8 > 0 || n%2 > 0:
		return authorizer.DecisionAllow, "", nil
	case s%2 == 0:
		return authorizer.DecisionNoOpinion, "for a reason", fmt.Errorf("fault")
	}
	return authorizer.DecisionDeny, "for a reason", nil
}

// FuzzImpersonate: whatever the headers and whatever is allowed, a request goes on in the name, and with the headers,
// that it would have upstream, or is refused in the same words.
func FuzzImpersonate(f *testing.F) {
	for _, text := range []string{
		"Impersonate-User: bob\n", "Impersonate-User: bob\nImpersonate-Group: a\nimpersonate-group: b\nImpersonate-Group: c\nImpersonate-Group: d\nImpersonate-Uid: 7\n",
		"Impersonate-User: system:serviceaccount:ns:x\nImpersonate-Extra-Acme.com%2fTeam: x\nAccept: y\n",
		"Impersonate-User: system:node:n1\nImpersonate-Group: system:unauthenticated\n", "Impersonate-User: system:node:\n", "Impersonate-User: system:anonymous\nImpersonate-Group: system:masters\n",
		"Impersonate-Group: a\n", "Impersonate-Uid: 7\n", "Impersonate-Extra-: x\n", "Impersonate-User: bob\nImpersonate-Extra-%zz:\nImpersonate-Extra-a%41: 1\n",
		"Impersonate-User: \nImpersonate-User: bob\n", "Impersonate-User: system:serviceaccount:ns:\nImpersonate-Group:\n",
	} {
		for i := range uint8(3) {
			f.Add([]byte(text), i, i*97)
		}
	}
	requestors := []user.Info{
		&user.DefaultInfo{Name: "ann"}, &user.DefaultInfo{Name: "system:node:n1", Groups: []string{"system:nodes"}},
		&user.DefaultInfo{Name: "system:serviceaccount:ns:agent", Extra: map[string][]string{"authentication.kubernetes.io/node-name": {"n1"}}},
	}
	f.Fuzz(func(t *testing.T, text []byte, who, seed uint8) {
		header, err := textproto.NewReader(bufio.NewReader(strings.NewReader(string(text) + "\n\n"))).ReadMIMEHeader()
		if err != nil {
			return
		}
		requestor := requestors[int(who)%len(requestors)]
		got := ours(t.Context(), http.Header(header).Clone(), requestor, some(seed))
		want := theirs(t.Context(), http.Header(header).Clone(), requestor, some(seed))
		if manyKeys := strings.Count(strings.ToLower(string(text)), "impersonate-extra-") > 1; manyKeys && got.refusal != "" && want.refusal != "" {
			return // upstream asks about them in any order
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q by %s, allowed %d:\n%+v, upstream\n%+v", text, requestor.GetName(), seed, got, want)
		}
	})
}

// An outcome is what becomes of a request.
type outcome struct {
	user    user.DefaultInfo
	header  http.Header
	refusal string
}

func (o *outcome) goesOn(u user.Info, h http.Header) {
	o.header = h
	o.user = user.DefaultInfo{Name: u.GetName(), UID: u.GetUID(), Groups: slices.Clone(u.GetGroups())}
	for key, values := range u.GetExtra() {
		if o.user.Extra == nil {
			o.user.Extra = map[string][]string{}
		}
		o.user.Extra[key] = slices.Sorted(slices.Values(values)) // of headers that mean the same key in any order
	}
}

func ours(ctx context.Context, h http.Header, requestor user.Info, allowed some) (o outcome) {
	wanted, err := Wanted(h)
	if err != nil || wanted == nil {
		return refusedOr(&o, err, func() { o.goesOn(requestor, h) })
	}
	a := &authorizer.AttributesRecord{User: requestor, Verb: "list", APIVersion: "v1", Resource: "pods", Namespace: "ns", ResourceRequest: true, Path: "/"}
	u, _, err := NewJudge(allowed, func(a authorizer.Attributes, reason string) error {
		return responsewriters.ForbiddenStatusError(a, reason)
	}).As(ctx, wanted, a)
	return refusedOr(&o, err, func() { o.goesOn(u, h) })
}

func refusedOr(o *outcome, err error, goesOn func()) outcome {
	if err == nil {
		goesOn()
		return *o
	}
	o.refusal = err.Error()
	return *o
}

func theirs(ctx context.Context, h http.Header, requestor user.Info, allowed some) (o outcome) {
	next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		u, _ := request.UserFrom(r.Context())
		o.goesOn(u, r.Header)
	})
	ctx = request.WithUser(ctx, requestor)
	ctx = request.WithRequestInfo(ctx, &request.RequestInfo{IsResourceRequest: true, Verb: "list", APIVersion: "v1", Resource: "pods", Namespace: "ns", Path: "/"})
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	r.Header = h
	w := httptest.NewRecorder()
	upstream.WithConstrainedImpersonation(next, allowed, scheme.Codecs).ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		o.refusal = statusMessage(w.Body.Bytes())
	}
	return o
}

func statusMessage(body []byte) string {
	var status metav1.Status
	if err := json.Unmarshal(body, &status); err != nil {
		return string(body)
	}
	return status.Message
}
