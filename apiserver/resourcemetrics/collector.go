// Package resourcemetrics serves the resource metrics API, metrics.k8s.io/v1beta1: what nodes and pods use now, which
// `kubectl top` shows and horizontal pod autoscalers follow. It reads the nodes' /metrics/resource as metrics-server
// does, and as often, but only while somebody asks: in an idle cluster nothing is collected.
package resourcemetrics

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/apiserver/egress"
	"clipper/apiserver/resolve"
)

const (
	// resolution is the pause between two readings. metrics-server's.
	resolution = 15 * time.Second
	// quick is the pause between the first two: use is a rate, which takes two, and somebody waits.
	quick = time.Second
	// linger is how long collecting goes on after the last question: a little longer than those who ask
	// regularly take.
	linger = time.Minute
	// patience bounds how long a question waits for the first readings.
	patience = 10 * time.Second

	fetchTimeout = 10 * time.Second
	quickTimeout = 2 * time.Second // of the first two readings: a node that is gone must not keep the others' from those who wait
	fetchesAtA   = 16              // nodes that are asked at the same time
	maxReading   = 32 << 20
)

// A Collector keeps the two last readings of every node, while they are wanted.
type Collector struct {
	client api.Client
	fetch  func(ctx context.Context, node *corev1.Node) (*reading, error)
	asked  chan struct{}

	mu    sync.Mutex
	last  time.Time     // when somebody asked
	ready chan struct{} // closed while nodes has what a question needs
	nodes map[string]pair
}

// pair are the two last readings of a node.
type pair struct{ before, now *reading }

// Config is what a Collector is made of.
type Config struct {
	Client    api.Client
	Identity  *tls.Config        // that is shown to nodes
	Preferred resolve.Preference // of nodes' addresses
	Dial      egress.Dial        // connects to nodes
}

// New returns a collector, which collects while Run runs.
func New(c Config) *Collector {
	transport := &http.Transport{DialContext: c.Dial, TLSClientConfig: c.Identity, IdleConnTimeout: 2 * resolution, MaxIdleConnsPerHost: 1}
	f := fetcher{&http.Client{Transport: transport}, c.Preferred}
	return newCollector(c.Client, f.fetch)
}

func newCollector(c api.Client, fetch func(context.Context, *corev1.Node) (*reading, error)) *Collector {
	return &Collector{client: c, fetch: fetch, asked: make(chan struct{}, 1), ready: make(chan struct{})}
}

// Run collects, whenever somebody asks, until ctx ends.
func (c *Collector) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.asked:
		}
		c.collect(ctx)
	}
}

// collect reads until nobody has asked for a while.
func (c *Collector) collect(ctx context.Context) {
	c.read(ctx, quickTimeout)
	for pause, limit := quick, quickTimeout; ; pause, limit = resolution, fetchTimeout {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		if c.forget() {
			return
		}
		c.read(ctx, limit)
		c.announce()
	}
}

// announce lets those go on who wait for the first readings.
func (c *Collector) announce() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.ready:
	default:
		close(c.ready)
	}
}

// forget drops everything if nobody has asked for a while, and reports whether that is so.
func (c *Collector) forget() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.last) <= linger {
		return false
	}
	c.nodes, c.ready = nil, make(chan struct{})
	return true
}

func (c *Collector) nudge() {
	select {
	case c.asked <- struct{}{}:
	default: // collecting already, or about to
	}
}

// read asks all nodes. One that does not answer in time has no metrics, which is what those who ask are told.
func (c *Collector) read(ctx context.Context, limit time.Duration) {
	asking, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	nodes := api.Nodes.View(c.client).List("")
	readings := make([]*reading, len(nodes))
	var group errgroup.Group
	group.SetLimit(fetchesAtA)
	for i, n := range nodes {
		group.Go(func() error {
			r, err := c.fetch(asking, n)
			if err != nil && ctx.Err() == nil {
				slog.Warn("A node's metrics cannot be read", "node", n.Name, "err", err)
			}
			readings[i] = r
			return nil
		})
	}
	group.Wait() //nolint:errcheck // faults are logged above
	next := map[string]pair{}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, n := range nodes {
		if readings[i] != nil {
			next[n.Name] = pair{c.nodes[n.Name].now, readings[i]}
		}
	}
	c.nodes = next
}

// snapshot returns the readings of all nodes, and waits for them where nothing was collected before.
func (c *Collector) snapshot(ctx context.Context) (map[string]pair, error) {
	c.mu.Lock()
	c.last = time.Now()
	ready := c.ready
	c.mu.Unlock()
	c.nudge()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-ready:
	case <-ctx.Done():
		return nil, errors.New("metrics are not collected yet")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes, nil // replaced by the next reading, never changed
}

// fetcher reads nodes' metrics over HTTPS.
type fetcher struct {
	client    *http.Client
	addresses resolve.Preference
}

func (f fetcher) fetch(ctx context.Context, node *corev1.Node) (*reading, error) {
	to, err := f.addresses.Agent(node)
	if err != nil {
		return nil, err
	}
	to.Path = "/metrics/resource"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	if err != nil {
		return nil, err
	}
	res, err := f.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", to, res.Status)
	}
	return parse(io.LimitReader(res.Body, maxReading), time.Now())
}
