// Package dra prepares the resource claims of a node's pods by their drivers, as the kubelet does: dynamic resource
// allocation, resource.k8s.io/v1. Which devices a claim has is decided by the scheduler and stands in the claim's
// status; here the drivers of those devices make them ready before the pod's containers start, say under which CDI
// names the containers get them, and put them away when the last pod that uses them has ended.
//
// Which claims have been prepared, for which pods, is in the kubelet's checkpoint before a driver hears of it: one
// that does not answer for long, or an agent that is killed in between, leaves nothing prepared for ever.
package dra

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
	"clipper/node/kubeletdir"
)

// Config is what a Manager needs.
type Config struct {
	Client   api.Client
	NodeName string
	Dir      kubeletdir.Dir
	// Sick is called with pods whose devices have become healthy or unhealthy. It may not call back. Optional.
	Sick func(pods []types.UID)
	// Active reports whether a pod is one of the node's: what others have had prepared is put away.
	Active func(types.UID) bool
}

// A Manager looks after the resource claims of a node's pods. Its methods may be called concurrently.
type Manager struct {
	cfg     Config
	wipes   *wiper
	metrics metrics

	mu      sync.Mutex
	drivers map[string][]*driver // by name; the newest last
	claims  map[claimKey]*claim
	health  map[string]map[deviceKey]health // by driver
	busy    map[claimKey]chan struct{}      // claims that are being prepared or put away; closed at the end
}

// claimKey is a claim's namespace and name.
type claimKey struct{ namespace, name string }

// deviceKey is a device of a driver.
type deviceKey struct{ pool, name string }

// New returns a manager with what the checkpoint says. It starts nothing.
func New(cfg Config) (*Manager, error) {
	if cfg.Sick == nil {
		cfg.Sick = func([]types.UID) {}
	}
	m := &Manager{cfg: cfg, metrics: newMetrics(), drivers: map[string][]*driver{}, claims: map[claimKey]*claim{},
		health: map[string]map[deviceKey]health{}, busy: map[claimKey]chan struct{}{}}
	m.wipes = newWiper(cfg.Client, cfg.NodeName, m.usable)
	return m, m.load()
}

// sweepEvery is how often claims are looked for that nobody uses any more. Upstream's figure.
const sweepEvery = time.Minute

// Run withdraws what drivers offer that are gone, and puts away the claims of pods that are, until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return m.wipes.run(ctx) })
	group.Go(func() error {
		for tick := time.NewTicker(sweepEvery); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return ctx.Err()
			case <-tick.C:
			}
			if err := m.sweep(ctx); err != nil && ctx.Err() == nil {
				slog.Warn("Putting away the claims of pods that are gone failed; it will be tried again", "err", err)
			}
		}
	})
	return group.Wait()
}

// hold waits until nobody else works on the claims and then keeps others from them, until release is called. Claims
// are taken in one order, so that two pods cannot wait for each other.
func (m *Manager) hold(ctx context.Context, keys []claimKey) (release func(), err error) {
	keys = slices.Clone(keys)
	slices.SortFunc(keys, func(a, b claimKey) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
	})
	keys = slices.Compact(keys)
	held := keys[:0:0]
	release = func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, k := range held {
			close(m.busy[k])
			delete(m.busy, k)
		}
	}
	for _, k := range keys {
		if err := m.holdOne(ctx, k); err != nil {
			release()
			return nil, err
		}
		held = append(held, k)
	}
	return release, nil
}

func (m *Manager) holdOne(ctx context.Context, k claimKey) error {
	for {
		m.mu.Lock()
		other := m.busy[k]
		if other == nil {
			m.busy[k] = make(chan struct{})
			m.mu.Unlock()
			return nil
		}
		m.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// callTimeout is how long a driver may take for one call. Upstream's figure.
const callTimeout = 45 * time.Second
