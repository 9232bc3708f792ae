// Package nodeipam gives every node its share of the cluster's pod addresses: spec.podCIDR. A share belongs to
// a node until the Node object is deleted. What is taken is read from the Nodes themselves, so a restart
// knows it all again.
package nodeipam

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"clipper/api"
)

// ErrExhausted says that all shares are taken.
var ErrExhausted = errors.New("no pod CIDR is left; start the server with a larger --pod-cidr, or delete Nodes that are gone")

// A eventRecorder is the part of api/record that is needed.
type eventRecorder interface {
	Event(about api.Object, eventType, reason, format string, args ...any)
}

// shares are the equal parts of the cluster's pod CIDR and who has them. It is not safe for concurrent use.
type shares struct {
	cluster netip.Prefix
	bits    int
	owner   map[netip.Prefix]string // by node name
	next    int                     // where the search for a free one goes on
}

func newShares(cluster netip.Prefix, bits int) *shares {
	return &shares{cluster: cluster.Masked(), bits: bits, owner: map[netip.Prefix]string{}}
}

func (s *shares) count() int { return 1 << (s.bits - s.cluster.Bits()) }

func (s *shares) nth(n int) netip.Prefix {
	base := s.cluster.Addr().As4()
	binary.BigEndian.PutUint32(base[:], binary.BigEndian.Uint32(base[:])+uint32(n)<<(32-s.bits))
	return netip.PrefixFrom(netip.AddrFrom4(base), s.bits)
}

// take gives node a free share. One that was freed is given again as late as possible: pods' addresses in
// it may still be remembered somewhere.
func (s *shares) take(node string) (netip.Prefix, error) {
	for range s.count() {
		p := s.nth(s.next)
		s.next = (s.next + 1) % s.count()
		if !s.taken(p) {
			s.owner[p] = node
			return p, nil
		}
	}
	return netip.Prefix{}, ErrExhausted
}

// taken reports whether somebody has an address of p. Nodes may have shares of another size, from before the
// server was given another.
func (s *shares) taken(p netip.Prefix) bool {
	for have := range s.owner {
		if have.Overlaps(p) {
			return true
		}
	}
	return false
}

// claim notes what a Node says it has. A CIDR outside of the cluster's, set by the user, is not ours to manage.
func (s *shares) claim(node string, cidr string) {
	if p, err := netip.ParsePrefix(cidr); err == nil {
		if _, taken := s.owner[p.Masked()]; !taken {
			s.owner[p.Masked()] = node
		}
	}
}

func (s *shares) free(node string, cidr string) {
	if p, err := netip.ParsePrefix(cidr); err == nil && s.owner[p.Masked()] == node {
		delete(s.owner, p.Masked())
	}
}

// A Controller assigns shares.
type Controller struct {
	client api.Client
	events eventRecorder

	mu      sync.Mutex // guards shares and waiting; nothing blocks under it
	shares  *shares
	waiting map[string]bool // nodes without a share
	synced  bool
	wake    chan struct{}
}

// DefaultBits is the length of a share's prefix where nothing else is asked for: 254 addresses for 110 pods.
// Upstream's figure.
const DefaultBits = 24

// New returns a controller that gives each node a prefix of that many bits of cluster. events may be nil. It
// starts nothing.
func New(c api.Client, cluster netip.Prefix, bits int, events eventRecorder) *Controller {
	return &Controller{client: c, events: events, shares: newShares(cluster, max(bits, cluster.Bits())), waiting: map[string]bool{}, wake: make(chan struct{}, 1)}
}

// Run assigns until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { done <- c.client.View(api.Nodes.Resource).Watch(ctx, c.note) }()
	err := c.work(ctx)
	cancel()
	<-done
	return err
}

// note keeps shares and waiting current.
func (c *Controller) note(e api.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was, _ := e.Old.(*corev1.Node)
	now, _ := e.New.(*corev1.Node)
	switch {
	case e.Type == api.Synced:
		c.synced = true
	case now == nil:
		delete(c.waiting, was.Name)
		c.shares.free(was.Name, was.Spec.PodCIDR)
	case now.Spec.PodCIDR == "":
		if c.waiting[now.Name] {
			return // a heartbeat
		}
		c.waiting[now.Name] = true
	default:
		delete(c.waiting, now.Name)
		c.shares.claim(now.Name, now.Spec.PodCIDR)
		return
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// pending returns the nodes to serve, none before all Nodes have been seen: a share that looks free may
// be the next one's.
func (c *Controller) pending() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.synced {
		return nil
	}
	var out []string
	for name := range c.waiting {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func (c *Controller) work(ctx context.Context) error {
	for {
		var retry <-chan time.Time
		for _, name := range c.pending() {
			if err := c.assign(ctx, name); err != nil {
				retry = time.After(time.Second)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.wake:
		case <-retry:
		}
	}
}

// assign gives one node a share. The share is taken before it is written, and freed if that fails.
func (c *Controller) assign(ctx context.Context, name string) error {
	c.mu.Lock()
	share, err := c.shares.take(name)
	c.mu.Unlock()
	if err != nil {
		c.complain(name)
		return err
	}
	written := false
	_, err = api.Nodes.Mutate(ctx, c.client, "", name, "", func(n *corev1.Node) (bool, error) {
		if n.Spec.PodCIDR != "" {
			return false, nil
		}
		n.Spec.PodCIDR, n.Spec.PodCIDRs = share.String(), []string{share.String()}
		written = true
		return true, nil
	})
	if err == nil && written {
		return nil
	}
	c.mu.Lock()
	c.shares.free(name, share.String())
	c.mu.Unlock()
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("node %s: assign pod CIDR %s: %w", name, share, err)
	}
	return nil
}

// complain says on the node why it does not get ready.
func (c *Controller) complain(name string) {
	node, ok := api.Nodes.View(c.client).Get("", name)
	if ok && c.events != nil {
		c.events.Event(node, corev1.EventTypeNormal, "CIDRNotAvailable", "Node %s status is now: CIDRNotAvailable", name)
	}
}
