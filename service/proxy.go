package service

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	vns "github.com/vishvananda/netns"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"clipper/api"
)

// Config is what the proxy of one node needs to know.
type Config struct {
	NodeName    string
	NetNS       string       // path of the node's network namespace; "": the process's own
	PodCIDR     netip.Prefix // the node's share
	ServiceCIDR netip.Prefix // packets to an address in it that is no service's are dropped; may be zero
	HealthPort  uint16       // where load balancers ask whether the node is healthy, kube-proxy's is 10256; 0: nowhere
	Log         *slog.Logger
}

// debounce is how long changes are gathered before they are written. A rollout changes slices in bursts.
const debounce = 5 * time.Millisecond

// A Proxy keeps the service rules of one node.
type Proxy struct {
	client api.Client
	cfg    Config
	ready  chan struct{} // closed when the rules have been written for the first time

	mu      sync.Mutex // guards what follows; nothing blocks under it
	dirty   map[string]bool
	all     bool
	synced  int
	updated time.Time
	failing bool
	leaving bool // the node is about to be removed
	wake    chan struct{}

	merged *merged // belongs to the loop, as do the facts
	facts  Facts
}

// NewProxy starts nothing; Run does.
func NewProxy(client api.Client, cfg Config) *Proxy {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Proxy{client: client, cfg: cfg, ready: make(chan struct{}), wake: make(chan struct{}, 1),
		dirty: map[string]bool{}, merged: newMerged(),
		facts: Facts{NodeName: cfg.NodeName, PodCIDR: cfg.PodCIDR}}
}

// Ready is closed once services work on this node.
func (p *Proxy) Ready() <-chan struct{} { return p.ready }

// Run follows the API until ctx ends. The rules stay: what works goes on working without us.
func (p *Proxy) Run(ctx context.Context) error {
	k, h, err := p.openKernel()
	if err != nil {
		return fmt.Errorf("service proxy: %w", err)
	}
	defer h.Close()
	if k.nsFD > 0 {
		defer unix.Close(k.nsFD)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.client.View(api.Services.Resource).Watch(ctx, p.noteService) })
	g.Go(func() error { return p.client.View(api.EndpointSlices.Resource).Watch(ctx, p.noteSlice) })
	g.Go(func() error { return p.client.View(api.Nodes.Resource).Watch(ctx, p.noteNode) })
	g.Go(func() error { return p.loop(ctx, k, h) })
	g.Go(func() error { return p.serveHealth(ctx) })
	return g.Wait()
}

func (p *Proxy) openKernel() (*kernel, *netlink.Handle, error) {
	if p.cfg.NetNS == "" {
		h, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
		return newKernel(0, p.cfg.PodCIDR, p.cfg.ServiceCIDR), h, err
	}
	fd, err := unix.Open(p.cfg.NetNS, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open namespace %s: %w", p.cfg.NetNS, err)
	}
	h, err := netlink.NewHandleAt(vns.NsHandle(fd), unix.NETLINK_NETFILTER)
	return newKernel(fd, p.cfg.PodCIDR, p.cfg.ServiceCIDR), h, err
}

func (p *Proxy) noteService(e api.Event) {
	if e.Type == api.Synced {
		p.note("", true)
		return
	}
	p.note(e.Object().GetNamespace()+"/"+e.Object().GetName(), false)
}

func (p *Proxy) noteSlice(e api.Event) {
	if e.Type == api.Synced {
		p.note("", true)
		return
	}
	for _, o := range []api.Object{e.Old, e.New} {
		if o == nil {
			continue
		}
		for _, svc := range api.Indexes[api.EndpointSlices.Resource][api.ByService](o) {
			p.note(svc, false)
		}
	}
}

// noteNode watches for a change of this node's zone, on which topology hints depend, and for its end.
func (p *Proxy) noteNode(e api.Event) {
	if e.Type == api.Synced {
		p.note("", true)
		return
	}
	node, ok := e.New.(*corev1.Node)
	if !ok || node.Name != p.cfg.NodeName {
		return
	}
	p.mu.Lock()
	p.leaving = !eligible(node)
	p.mu.Unlock()
	old, _ := e.Old.(*corev1.Node)
	if old == nil || old.Labels[corev1.LabelTopologyZone] != node.Labels[corev1.LabelTopologyZone] {
		p.mu.Lock()
		p.all = true
		p.mu.Unlock()
		p.poke()
	}
}

// note remembers that a service ("namespace/name") needs compiling, or that a view is complete.
func (p *Proxy) note(service string, synced bool) {
	p.mu.Lock()
	if synced {
		p.synced++
	} else {
		p.dirty[service] = true
	}
	p.mu.Unlock()
	p.poke()
}

func (p *Proxy) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// take returns what is to be compiled, nothing before all three views are complete: rules made from half of
// the picture would cut off what worked before a restart.
func (p *Proxy) take() (services []string, all, ok bool) {
	const views = 3
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.synced < views {
		return nil, false, false
	}
	services, all = slices.Collect(maps.Keys(p.dirty)), p.all
	p.dirty, p.all = map[string]bool{}, false
	return services, all, true
}

func (p *Proxy) loop(ctx context.Context, k *kernel, h *netlink.Handle) error {
	health := &healthServer{netNS: p.cfg.NetNS, log: p.cfg.Log, alive: func() bool { return !p.isFailing() }}
	defer health.close()
	var timer <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.wake:
			if timer == nil {
				timer = time.After(debounce)
			}
			continue
		case <-timer:
			timer = nil
		}
		services, all, ok := p.take()
		if !ok {
			continue
		}
		flows := p.recompile(services, all)
		before, after := p.merged.take()
		err := k.apply(p.merged.all, before, after)
		p.report(err)
		if err != nil {
			p.cfg.Log.Error("cannot write service rules", "node", p.cfg.NodeName, "err", err)
			timer = time.After(time.Second) // apply writes everything anew then
			continue
		}
		if err := forgetFlows(h, flows); err != nil {
			p.cfg.Log.Warn("UDP clients may keep talking to endpoints that are gone", "node", p.cfg.NodeName, "err", err)
		}
		health.set(p.healthChecks())
	}
}

// recompile brings the named services up to date (or all) and returns the flows to forget.
func (p *Proxy) recompile(services []string, all bool) []udpFlow {
	if all {
		p.facts.Zone = p.zone()
		for _, s := range api.Services.View(p.client).List("") {
			services = append(services, s.Namespace+"/"+s.Name)
		}
	}
	if p.facts.Zone == "" {
		p.facts.Zone = p.zone()
	}
	var flows []udpFlow
	for _, key := range services {
		namespace, name, _ := strings.Cut(key, "/")
		was := p.merged.parts[key]
		svc, ok := api.Services.View(p.client).Get(namespace, name)
		if !ok {
			p.merged.set(key, compiled{}, false)
			flows = append(flows, stale(was.flows, nil)...)
			continue
		}
		now := compileService(svc, api.EndpointSlices.View(p.client).ByIndex(api.ByService, key), p.facts)
		p.merged.set(key, now, true)
		flows = append(flows, stale(was.flows, now.flows)...)
	}
	return flows
}

func (p *Proxy) zone() string {
	if node, ok := api.Nodes.View(p.client).Get("", p.cfg.NodeName); ok {
		return node.Labels[corev1.LabelTopologyZone]
	}
	return ""
}

func (p *Proxy) healthChecks() map[uint16]healthCheck {
	out := map[uint16]healthCheck{}
	for _, part := range p.merged.parts {
		if part.health != nil {
			out[part.health.Port] = *part.health
		}
	}
	return out
}

func (p *Proxy) report(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failing = err != nil
	if err == nil {
		p.updated = time.Now()
		select {
		case <-p.ready:
		default:
			close(p.ready)
		}
	}
}

func (p *Proxy) isFailing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failing
}
