package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubelet/config/v1beta1"

	"clipper/api"
	"clipper/node/kubeletconfig"
)

// An oracle answers reviews: the token "good" is Ann's, who may get metrics and proxy.
type oracle struct {
	api.Client
	asked []string
	err   error
}

func (o *oracle) Create(_ context.Context, _ api.Resource, obj api.Object, _ metav1.CreateOptions) (api.Object, error) {
	if o.err != nil {
		return nil, o.err
	}
	switch r := obj.(type) {
	case *authenticationv1.TokenReview:
		o.asked = append(o.asked, "token")
		r.Status.Authenticated = r.Spec.Token == "good"
		r.Status.User = authenticationv1.UserInfo{Username: "ann", Groups: []string{"readers"}}
		return r, nil
	case *authorizationv1.SubjectAccessReview:
		a := r.Spec.ResourceAttributes
		o.asked = append(o.asked, r.Spec.User+" "+a.Verb+" "+a.Resource+"/"+a.Subresource+" "+a.Name)
		r.Status.Allowed = r.Spec.User == "ann" && (a.Subresource == "metrics" || a.Subresource == "proxy")
		return r, nil
	}
	return nil, errors.New("what is that")
}

// certificate returns one for cn that an authority of its own has signed, and that authority.
func certificate(t *testing.T, cn string) (*x509.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: cn, Organization: []string{"crew"}}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return cert, pool
}

func TestDelegated(t *testing.T) {
	known, pool := certificate(t, "ann")
	stranger, _ := certificate(t, "ann")
	anonymous := func(c *kubeletconfig.Configuration) { *c.Authentication.Anonymous.Enabled = true }
	for _, tt := range []struct {
		name, path, token string
		cert              *x509.Certificate
		settings          func(*kubeletconfig.Configuration)
		err               error
		code              int
		text              string
		asked             []string
	}{
		{name: "nobody", path: "/metrics", code: 401, text: "Unauthorized"},
		{name: "bad token", path: "/metrics", token: "bad", code: 401, text: "Unauthorized", asked: []string{"token"}},
		{name: "bad token where strangers are welcome", path: "/metrics", token: "bad", settings: anonymous, code: 401, text: "Unauthorized", asked: []string{"token"}},
		{name: "good token", path: "/metrics/cadvisor", token: "good", asked: []string{"token", "ann get nodes/metrics n1"}},
		{name: "good token, tokens not believed", path: "/metrics", token: "good", code: 401, text: "Unauthorized",
			settings: func(c *kubeletconfig.Configuration) { *c.Authentication.Webhook.Enabled = false }},
		{name: "finer first, then what it was part of", path: "/pods", token: "good", asked: []string{"token", "ann get nodes/pods n1", "ann get nodes/proxy n1"}},
		{name: "refused", path: "/stats/summary", token: "good", code: 403, text: "Forbidden (user=ann, verb=get, resource=nodes, subresource(s)=[stats])\n", asked: []string{"token", "ann get nodes/stats n1"}},
		{name: "certificate", path: "/metrics", cert: known, asked: []string{"ann get nodes/metrics n1"}},
		{name: "certificate of a stranger", path: "/metrics", cert: stranger, code: 401, text: "Unauthorized"},
		{name: "anonymous", path: "/healthz", settings: anonymous, code: 403, text: "Forbidden (user=system:anonymous, verb=get, resource=nodes, subresource(s)=[healthz proxy])\n",
			asked: []string{"system:anonymous get nodes/healthz n1", "system:anonymous get nodes/proxy n1"}},
		{name: "everybody may do everything", path: "/exec/ns/p/c", settings: func(c *kubeletconfig.Configuration) {
			anonymous(c)
			c.Authorization.Mode = v1beta1.KubeletAuthorizationModeAlwaysAllow
		}},
		{name: "nobody answers", path: "/metrics", cert: known, err: errors.New("no server"), code: 500, text: "Authorization error (user=ann, verb=get, resource=nodes, subresource=metrics)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			settings := kubeletconfig.Default()
			if tt.settings != nil {
				tt.settings(settings)
			}
			o := &oracle{err: tt.err}
			d := NewDelegated(o, "n1", settings, pool)
			r := httptest.NewRequest(http.MethodGet, tt.path, nil)
			if tt.token != "" {
				r.Header.Set("Authorization", "bearer "+tt.token) // as written by some
			}
			if tt.cert != nil {
				r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{tt.cert}}
			}
			for range 2 { // what was answered once is not asked again
				err := d.Authorize(r, verb(r), subresources(tt.path))
				if code := 0; err != nil {
					code = StatusOf(err)
					if code != tt.code || err.Error() != tt.text {
						t.Errorf("%d %q, want %d %q", code, err, tt.code, tt.text)
					}
				} else if tt.code != 0 {
					t.Errorf("allowed, want %d", tt.code)
				}
			}
			if !slices.Equal(o.asked, tt.asked) {
				t.Errorf("asked %q, want %q", o.asked, tt.asked)
			}
		})
	}
}

func TestAnswersEnd(t *testing.T) {
	var a answers[bool]
	now := time.Unix(100, 0)
	a.put("k", true, now.Add(time.Minute))
	if v, ok := a.get("k", now.Add(59*time.Second)); !v || !ok {
		t.Error("forgotten too early")
	}
	if _, ok := a.get("k", now.Add(61*time.Second)); ok {
		t.Error("remembered too long")
	}
	for n := range maxAnswers + 10 {
		a.put(strings.Repeat("x", n%7)+string(rune(n)), true, now)
	}
	if len(a.known) > maxAnswers {
		t.Errorf("%d answers are kept", len(a.known))
	}
}

// What the settings switch off says so; what only reads is on the read-only port, and nothing else.
func TestSwitchedOff(t *testing.T) {
	b := newBench(t)
	*b.settings.EnableSystemLogHandler, *b.settings.EnableProfilingHandler = false, false
	get := func(h http.Handler, path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	some := New(b.server.cfg)
	*b.settings.EnableDebuggingHandlers = false
	none := New(b.server.cfg)
	for _, tt := range []struct {
		h    http.Handler
		path string
		code int
		text string
	}{
		{some, "/logs/", 405, "logs endpoint is disabled.\n"},
		{some, "/debug/pprof/", 405, "profiling endpoint is disabled.\n"},
		{none, "/exec/ns/p/c", 405, "Debug endpoints are disabled.\n"},
		{none, "/runningpods/", 405, "Debug endpoints are disabled.\n"},
		{none, "/healthz", 200, "ok"},
		{some.ReadOnly(), "/healthz/syncloop", 200, "ok"},
		{some.ReadOnly(), "/exec/ns/p/c", 404, "404 page not found\n"},
		{some.Health(), "/pods", 404, "404 page not found\n"},
	} {
		if code, text := get(tt.h, tt.path); code != tt.code || text != tt.text {
			t.Errorf("%s: %d %q, want %d %q", tt.path, code, text, tt.code, tt.text)
		}
	}
	b.sick = errors.New("stuck")
	if code, text := get(some.Health(), "/healthz"); code != 500 || text != "[+]ping ok\n[+]log ok\n[-]syncloop failed: reason withheld\nhealthz check failed\n" {
		t.Errorf("%d %q", code, text)
	}
	if code, _ := get(some.Health(), "/healthz?exclude=syncloop"); code != 200 {
		t.Errorf("without the part that is sick: %d", code)
	}
}

func TestBucket(t *testing.T) {
	for path, want := range map[string]string{"/metrics": "metrics", "/metrics/cadvisor": "metrics/cadvisor", "/metrics/odd": "metrics", "/exec/a/b/c": "exec",
		"/healthz/ping": "healthz", "/": "other", "/../../etc": "other"} {
		if got := bucket(path); got != want {
			t.Errorf("%s counts as %s, want %s", path, got, want)
		}
	}
}
