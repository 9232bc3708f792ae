package aggregation

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"clipper/apiserver/served"
	"clipper/node/nodetest"
)

// A group version that is answered for in the process goes to another server as long as its APIService says so.
func TestLocalGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := nodetest.NewClient()
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
		e := NewLocal(schema.GroupVersion{Group: "metrics.example.com", Version: "v1"}, served.Priority{Group: 1, Version: 1}, []metav1.APIResource{{Name: "pods", Kind: "PodMetrics"}}, h)
		table, err := served.NewTable(nil)
		if err != nil {
			t.Fatal(err)
		}
		r := NewRegistrar(client, served.NewLive(table), e)
		c := New(Config{Client: client, Local: []*Extension{e}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		go func() { done <- c.Run(ctx) }()
		answers := func() int {
			time.Sleep(time.Second)
			synctest.Wait()
			w := httptest.NewRecorder()
			c.Directory().Find("metrics.example.com", "v1").Serve(w, httptest.NewRequest(http.MethodGet, "/", nil), aggregator)
			return w.Code
		}
		if code := answers(); code != http.StatusTeapot {
			t.Errorf("at first: %d", code)
		}
		_, err = APIServices.Mutate(ctx, client, "", "v1.metrics.example.com", "", func(s *apiregistrationv1.APIService) (bool, error) {
			s.Spec.Service = &apiregistrationv1.ServiceReference{Namespace: "kube-system", Name: "metrics-server"}
			return true, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if code := answers(); code != http.StatusServiceUnavailable {
			t.Errorf("with a service that is not there: %d", code)
		}
		if err := APIServices.Delete(ctx, client, "", "v1.metrics.example.com", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if code := answers(); code != http.StatusTeapot {
			t.Errorf("after the service has gone: %d", code)
		}
		cancel()
		<-done
		<-done
	})
}

// TestReady: registrar and controller are ready when discovery has what is answered for in the process, not before.
func TestReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := nodetest.NewClient()
		e := NewLocal(schema.GroupVersion{Group: "metrics.example.com", Version: "v1"}, served.Priority{Group: 1, Version: 1}, nil, http.NotFoundHandler())
		table, err := served.NewTable(nil)
		if err != nil {
			t.Fatal(err)
		}
		r := NewRegistrar(client, served.NewLive(table), e)
		c := New(Config{Client: client, Local: []*Extension{e}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		if r.Ready(ctx) == nil || c.Ready(ctx) == nil {
			t.Error("ready before anything runs")
		}
		go func() { done <- r.Run(ctx) }()
		synctest.Wait()
		if err := r.Ready(ctx); err != nil {
			t.Error(err)
		}
		if c.Ready(ctx) == nil {
			t.Error("ready although nobody has read what is registered")
		}
		go func() { done <- c.Run(ctx) }()
		synctest.Wait()
		if err := c.Ready(ctx); err != nil || c.Directory().Find(e.Group, e.Version) != e {
			t.Errorf("%v; directory %v", err, c.Directory().List())
		}
		cancel()
		<-done
		<-done
	})
}
