// Package presence tells a cluster which API servers there are. Every server keeps a Lease in kube-system
// that bears its name; one that is not renewed for an hour is deleted by whoever sees it. Servers that share
// their state also keep a key under masterleases that the store forgets after some seconds, and write the
// addresses of all such keys into the Endpoints and EndpointSlice of the Service default/kubernetes: pods
// reach a server that is alive. Names, labels and figures are kube-apiserver's.
package presence

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"clipper/api"
	"clipper/store"
)

// Upstream's figures, but for the first: kube-apiserver renews whenever it looks. A lease of an hour does not
// need that, and a server that nobody uses should not write.
const (
	renewEvery     = 10 * time.Minute
	lookEvery      = 10 * time.Second // somebody may have deleted or changed it
	leaseDuration  = time.Hour
	collectEvery   = time.Hour
	reconcileEvery = 10 * time.Second
	// MasterLeaseTTL is after how long a server counts as gone.
	MasterLeaseTTL = 15 * time.Second
)

// MasterLeases is the storage prefix of the keys by which servers know each other.
const MasterLeases = "masterleases"

// A Store is where the servers' keys are.
type Store interface {
	store.Committer
	Get(store.Key) (*store.Item, bool)
	Snapshot(resource string) store.Snapshot
}

// Config is what an Announcer is made of.
type Config struct {
	Client  api.Client
	Store   Store
	Host    string         // of this server
	Address netip.AddrPort // where pods reach it
	Shared  bool           // other servers may work on the same state
	Log     *slog.Logger   // nil: slog.Default
}

// An Announcer keeps one server's presence.
type Announcer struct {
	Config
	identity string // the Lease's name
	holder   string // differs with each start
	now      func() time.Time
}

// New returns an announcer that has said nothing yet.
func New(cfg Config) *Announcer {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	id := Identity(cfg.Host)
	return &Announcer{Config: cfg, identity: id, holder: id + "_" + uuid.NewString(), now: time.Now}
}

// Run announces the server until ctx ends; then it takes the server's address out of the endpoints.
func (a *Announcer) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return every(ctx, lookEvery, a.log("renew the server's lease", a.renew)) })
	group.Go(func() error { return every(ctx, collectEvery, a.log("delete stale servers' leases", a.collect)) })
	if a.Shared {
		group.Go(func() error {
			err := every(ctx, reconcileEvery, a.log("write the servers' addresses", a.reconcile))
			a.leave(ctx)
			return err
		})
	}
	return group.Wait()
}

// every calls fn now and then again and again, until ctx ends.
func every(ctx context.Context, period time.Duration, fn func(context.Context)) error {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		fn(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// log makes a step whose failures are only said: the next time is soon.
func (a *Announcer) log(what string, step func(context.Context) error) func(context.Context) {
	return func(ctx context.Context) {
		if err := step(ctx); err != nil && ctx.Err() == nil {
			a.Log.Warn("presence of the API server", "step", what, "err", err)
		}
	}
}
