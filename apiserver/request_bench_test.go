package apiserver

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/kubernetes/scheme"

	"clipper/apiserver/fairness"
	"clipper/apiserver/pipeline"
	"clipper/apiserver/served"
	"clipper/catalogue/all"
	"clipper/store"
	"clipper/store/codec"
	"clipper/store/log/pebble"
)

// BenchmarkRequest is what a GET costs without the network: the whole way through ServeHTTP.
func BenchmarkRequest(b *testing.B) {
	for _, how := range []string{"bare", "fair"} {
		b.Run(how, func(b *testing.B) {
			s := benchServer(b, how == "fair")
			r := httptest.NewRequest(http.MethodGet, "/api/v1/namespaces/default/configmaps/none", nil)
			b.ReportAllocs()
			runtime.LockOSThread() // to tell this thread's time from that of a busy machine
			defer runtime.UnlockOSThread()
			before := threadTime(b)
			for b.Loop() {
				s.ServeHTTP(&discard{header: http.Header{}}, r)
			}
			b.ReportMetric(float64(threadTime(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

func threadTime(b *testing.B) int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func benchServer(b *testing.B, fair bool) *Server {
	l, err := pebble.Open("store", vfs.NewMem())
	if err != nil {
		b.Fatal(err)
	}
	st, err := store.Open(l, store.Options{Codec: codec.New(scheme.Scheme)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { st.Close() })
	table, err := served.NewTable(all.Resources())
	if err != nil {
		b.Fatal(err)
	}
	joe := &user.DefaultInfo{Name: "joe", Groups: []string{user.AllAuthenticated}}
	o := Options{
		Pipeline: pipeline.New(pipeline.Config{Store: st, Served: served.NewLive(table)}),
		Authn: authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) {
			return &authenticator.Response{User: joe}, true, nil
		}),
		Authz: authorizer.AuthorizerFunc(func(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
			return authorizer.DecisionAllow, "", nil
		}),
	}
	if fair {
		o.Fairness = fairness.New(fairness.Config{Seats: 600, Objects: func(string, string, string) (int, int) { return 0, 0 }})
	}
	return New(o)
}

// discard is a client that takes everything.
type discard struct {
	header http.Header
	io.Writer
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
