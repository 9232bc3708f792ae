// Package dns is the cluster's name service, one server on every node, answering from the live views: no
// copy of the records is kept beyond an index from addresses to services.
//
// Each node's server listens on the node's gateway address (the first of its pod CIDR). The Service kube-dns in
// kube-system, at the tenth address of the service CIDR, has all of them as its endpoints, each hinted for
// its own node: a pod asks one fixed address, is answered on its own node, and by another node while its own
// does not answer. Publisher keeps those objects; a cluster that brings its own DNS gives kube-dns a selector,
// and the Publisher withdraws.
//
// zone.go decides what the answer is, without a socket; forward.go asks the node's own name servers about the
// rest of the world; this file is the server around them.
package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"

	"clipper/api"
	"clipper/node/network/netns"
)

// Config is what one node's name server needs to know.
type Config struct {
	Listen     netip.AddrPort // usually the node's gateway address, port 53
	Domain     string         // default "cluster.local"
	ResolvConf string         // the node's resolv.conf, for names outside of the cluster; default /etc/resolv.conf
	NetNS      string         // path of the node's network namespace; "": the process's own
	Log        *slog.Logger
}

// Limits: what one client can make us hold.
const (
	maxTCPConnections = 512
	tcpTimeout        = 10 * time.Second
	maxUDPAnswer      = 1232 // fits every path without fragments
)

// A Server answers on one node.
type Server struct {
	cfg      Config
	zone     zone
	records  *liveRecords
	upstream *upstream
	ready    chan struct{}
}

// NewServer starts nothing; Run does.
func NewServer(client api.Client, cfg Config) *Server {
	if cfg.Domain == "" {
		cfg.Domain = "cluster.local"
	}
	if cfg.ResolvConf == "" {
		cfg.ResolvConf = "/etc/resolv.conf"
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	records := newLiveRecords(client)
	return &Server{cfg: cfg, records: records, ready: make(chan struct{}),
		zone:     zone{domain: strings.ToLower(dns.Fqdn(cfg.Domain)), records: records},
		upstream: newUpstream(cfg.ResolvConf, cfg.NetNS, cfg.Listen.Addr())}
}

// Ready is closed when the server answers, from complete views.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.records.run(ctx) })
	g.Go(func() error { return s.serve(ctx) })
	return g.Wait()
}

func (s *Server) serve(ctx context.Context) error {
	if err := s.records.waitSynced(ctx); err != nil {
		return err // an answer from half of the picture would say that names do not exist
	}
	pc, l, err := s.listen()
	if err != nil {
		return err
	}
	udp := &dns.Server{PacketConn: pc, Handler: s, UDPSize: dns.DefaultMsgSize}
	tcp := &dns.Server{Listener: netutil.LimitListener(l, maxTCPConnections), Handler: s,
		ReadTimeout: tcpTimeout, WriteTimeout: tcpTimeout, IdleTimeout: func() time.Duration { return tcpTimeout }}
	g, ctx := errgroup.WithContext(ctx)
	started := make(chan struct{}, 2)
	for _, srv := range []*dns.Server{udp, tcp} {
		srv.NotifyStartedFunc = func() { started <- struct{}{} }
		g.Go(srv.ActivateAndServe)
	}
	g.Go(func() error {
		for range 2 {
			select {
			case <-started:
			case <-ctx.Done():
			}
		}
		if ctx.Err() == nil {
			close(s.ready)
		}
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 200*time.Millisecond)
		defer cancel()
		udp.ShutdownContext(stop) // what is still being answered then is cut off with its socket
		tcp.ShutdownContext(stop)
		pc.Close() // again, should one not have started yet: then it ends now
		l.Close()
		return ctx.Err()
	})
	return g.Wait()
}

func (s *Server) listen() (net.PacketConn, net.Listener, error) {
	var pc net.PacketConn
	var l net.Listener
	err := netns.Do(s.cfg.NetNS, func() (err error) {
		if pc, err = net.ListenPacket("udp4", s.cfg.Listen.String()); err != nil {
			return err
		}
		if l, err = net.Listen("tcp4", s.cfg.Listen.String()); err != nil {
			return errors.Join(err, pc.Close())
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("cluster DNS: listen on %s: %w; a name server of this machine that takes every address must be told to take its own only", s.cfg.Listen, err)
	}
	return pc, l, nil
}

// ServeDNS implements dns.Handler.
func (s *Server) ServeDNS(w dns.ResponseWriter, req *dns.Msg) {
	overTCP := w.LocalAddr().Network() == "tcp"
	if resp := s.respond(req, overTCP); resp != nil {
		if err := w.WriteMsg(resp); err != nil {
			s.cfg.Log.Debug("cannot answer DNS query", "client", w.RemoteAddr(), "err", err)
		}
	}
}

// respond returns the whole message to send, fit for the transport; nil for none.
func (s *Server) respond(req *dns.Msg, overTCP bool) *dns.Msg {
	if req.Response {
		return nil // answering an answer can go on for ever
	}
	resp := new(dns.Msg)
	resp.SetReply(req)
	resp.Compress, resp.RecursionAvailable = true, true
	switch {
	case req.Opcode != dns.OpcodeQuery:
		resp.Rcode = dns.RcodeNotImplemented
	case len(req.Question) != 1:
		resp.Rcode = dns.RcodeFormatError
	case req.Question[0].Qclass != dns.ClassINET || isTransfer(req.Question[0].Qtype):
		resp.Rcode = dns.RcodeRefused
	default:
		resp = s.answer(req, resp, overTCP)
	}
	return fit(req, resp, overTCP)
}

func isTransfer(qtype uint16) bool {
	return qtype == dns.TypeAXFR || qtype == dns.TypeIXFR || qtype == dns.TypeANY
}

func (s *Server) answer(req, resp *dns.Msg, overTCP bool) *dns.Msg {
	q := req.Question[0]
	r := s.zone.ask(q)
	if r.notOurs {
		return s.upstream.relay(req, resp, overTCP)
	}
	resp.Authoritative = true
	resp.Rcode, resp.Answer, resp.Extra = r.rcode, r.answer, r.extra
	if r.forward != "" {
		// What the alias stands for is not ours to be certain about: an answer without it is still right.
		resp.Answer = append(resp.Answer, s.upstream.resolve(r.forward, q.Qtype)...)
	}
	if len(resp.Answer) == 0 {
		resp.Ns = []dns.RR{s.zone.soa()}
	}
	rotate(resp.Answer)
	return resp
}

// rotate starts a list of addresses at a random place: many clients take the first.
func rotate(rrs []dns.RR) {
	if len(rrs) < 2 || rrs[0].Header().Rrtype == dns.TypeCNAME {
		return
	}
	n := rand.IntN(len(rrs))
	copy(rrs, append(rrs[n:len(rrs):len(rrs)], rrs[:n]...))
}

// fit cuts resp to what the client can take, and answers its EDNS.
func fit(req, resp *dns.Msg, overTCP bool) *dns.Msg {
	size := dns.MinMsgSize
	resp.Extra = withoutOPT(resp.Extra)
	if opt := req.IsEdns0(); opt != nil {
		size = min(max(int(opt.UDPSize()), dns.MinMsgSize), maxUDPAnswer)
		resp.SetEdns0(maxUDPAnswer, opt.Do())
		if opt.Version() != 0 {
			resp.Answer, resp.Ns = nil, nil
			resp.Rcode = dns.RcodeBadVers
		}
	}
	if overTCP {
		size = dns.MaxMsgSize
	}
	resp.Truncate(size)
	return resp
}

func withoutOPT(rrs []dns.RR) []dns.RR {
	var out []dns.RR
	for _, rr := range rrs {
		if rr.Header().Rrtype != dns.TypeOPT {
			out = append(out, rr)
		}
	}
	return out
}
