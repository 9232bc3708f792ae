package aggregation

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"clipper/api"
	"clipper/apiserver/customresource"
	"clipper/apiserver/served"
	"clipper/node/nodetest"
)

// halfBlind cannot read all definitions while it is blind.
type halfBlind struct {
	api.Client
	blind atomic.Bool
}

func (c *halfBlind) View(r api.Resource) api.View {
	v := c.Client.View(r)
	if r != customresource.Definitions.Resource {
		return v
	}
	return &partial{View: v, c: c}
}

type partial struct {
	api.View
	c *halfBlind
}

func (p *partial) Hides(string) bool { return p.c.blind.Load() }

func (p *partial) Complete(string) error {
	if p.c.blind.Load() {
		return errors.New("spoilt")
	}
	return nil
}

// TestKeptUnderDoubt: what a definition that cannot be read may define keeps its APIService; what nothing defines loses it.
func TestKeptUnderDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &halfBlind{Client: nodetest.NewClient()}
		client.blind.Store(true)
		stale := &apiregistrationv1.APIService{
			ObjectMeta: metav1.ObjectMeta{Name: "v1.stale.example.com", Labels: map[string]string{managedLabel: "true"}},
			Spec:       apiregistrationv1.APIServiceSpec{Group: "stale.example.com", Version: "v1"},
		}
		if _, err := APIServices.Create(t.Context(), client, stale); err != nil {
			t.Fatal(err)
		}
		table, err := served.NewTable(nil)
		if err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		defer slog.SetDefault(slog.Default())
		slog.SetDefault(slog.New(slog.NewTextHandler(&said, nil)))
		r := NewRegistrar(client, served.NewLive(table))
		if err := r.sync(t.Context()); err == nil {
			t.Error("in step, though nobody knows with what")
		}
		go func() { _ = r.Run(t.Context()) }()
		time.Sleep(10*retryEvery + retryEvery/2)
		synctest.Wait()
		if len(APIServices.View(client).List("")) != 1 {
			t.Error("the APIService has gone")
		}
		if n := strings.Count(said.String(), "not in step"); n != 1 || !strings.Contains(said.String(), "spoilt") {
			t.Errorf("said %d times: %s", n, &said)
		}
		client.blind.Store(false)
		time.Sleep(2 * retryEvery)
		synctest.Wait()
		if len(APIServices.View(client).List("")) != 0 || r.Ready(t.Context()) != nil {
			t.Error("the APIService is still there")
		}
		if n := strings.Count(said.String(), "in step again"); n != 1 {
			t.Errorf("said %d times that it is over: %s", n, &said)
		}
	})
}
