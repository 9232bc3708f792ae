package leader

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"clipper/api"
	"clipper/api/apitest"
)

// cluster is servers that compete for one duty.
type cluster struct {
	client  *apitest.Client
	leading atomic.Int32
	leader  atomic.Value // name of the last one that began
	cut     atomic.Value // identity whose writes fail
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{client: &apitest.Client{}}
	c.cut.Store("")
	c.leader.Store("")
	c.client.Before = func(_ string, _ api.Resource, obj api.Object) error {
		if who := c.cut.Load(); who != "" && *obj.(*coordinationv1.Lease).Spec.HolderIdentity == who {
			return errors.New("cut off")
		}
		return nil
	}
	return c
}

// start has a server compete; stop ends it and waits.
func (c *cluster) start(t *testing.T, name string) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Lead(ctx, Duty{Name: "kube-scheduler", Client: c.client, Identity: name, Run: func(ctx context.Context) error {
			if n := c.leading.Add(1); n != 1 {
				t.Errorf("%d lead at a time", n)
			}
			c.leader.Store(name)
			<-ctx.Done()
			time.Sleep(100 * time.Millisecond) // ending takes its time
			c.leading.Add(-1)
			return ctx.Err()
		}})
	}()
	return func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func (c *cluster) await(t *testing.T, name string, within time.Duration) {
	t.Helper()
	for end := time.Now().Add(within); c.leader.Load() != name; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s does not lead after %v; %v does", name, within, c.leader.Load())
		}
	}
}

func TestLead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		stopA := c.start(t, "a")
		c.await(t, "a", time.Second)
		stopB := c.start(t, "b")
		time.Sleep(time.Minute)
		c.await(t, "a", 0) // nobody takes it from one who is there

		c.cut.Store("a") // a cannot renew: it gives up before b may begin
		c.await(t, "b", duration+200*time.Millisecond)
		c.cut.Store("")
		time.Sleep(time.Minute)
		c.await(t, "b", 0)

		stopB() // a server that stops lets the next one begin at once
		c.await(t, "a", 300*time.Millisecond)
		stopA()
	})
}

func TestRunThatFailsEndsLead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		err := Lead(t.Context(), Duty{Name: "kube-scheduler", Client: &apitest.Client{}, Identity: "a",
			Run: func(context.Context) error { return fmt.Errorf("run: %w", broken) }})
		if !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	})
}
