package dns

import (
	"context"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"clipper/node/network/netns"
)

// Limits of what is asked of the node's name servers.
const (
	maxForwarded    = 256 // at once; more are refused, so that a dead name server cannot fill the memory
	upstreamTimeout = 2 * time.Second
	maxNameservers  = 3 // as the C library
	recheckConf     = 5 * time.Second
)

// An upstream asks the node's own name servers.
type upstream struct {
	conf   string
	netNS  string
	self   netip.Addr // never asked: that would be a loop
	tokens chan struct{}
	cache  cache

	mu      sync.Mutex
	checked time.Time
	changed time.Time
	servers []string
}

func newUpstream(conf, netNS string, self netip.Addr) *upstream {
	return &upstream{conf: conf, netNS: netNS, self: self, tokens: make(chan struct{}, maxForwarded)}
}

// relay answers req with what the first name server says that can be reached, or with a server failure.
func (u *upstream) relay(req, resp *dns.Msg, overTCP bool) *dns.Msg {
	if !req.RecursionDesired {
		resp.Rcode = dns.RcodeRefused
		return resp
	}
	query := new(dns.Msg)
	query.SetQuestion(req.Question[0].Name, req.Question[0].Qtype)
	query.CheckingDisabled = req.CheckingDisabled
	query.SetEdns0(maxUDPAnswer, req.IsEdns0() != nil && req.IsEdns0().Do())
	in := u.exchange(query, overTCP)
	if in == nil {
		resp.Rcode = dns.RcodeServerFailure
		return resp
	}
	resp.Rcode, resp.Truncated = in.Rcode, in.Truncated
	resp.AuthenticatedData = in.AuthenticatedData
	resp.Answer, resp.Ns, resp.Extra = in.Answer, in.Ns, in.Extra
	return resp
}

// resolve returns the records of a name, or nothing.
func (u *upstream) resolve(name string, qtype uint16) []dns.RR {
	query := new(dns.Msg)
	query.SetQuestion(name, qtype)
	query.SetEdns0(maxUDPAnswer, false)
	if in := u.exchange(query, true); in != nil {
		return in.Answer
	}
	return nil
}

// exchange answers from the cache or asks. whole wants an answer that was not cut off.
func (u *upstream) exchange(query *dns.Msg, whole bool) *dns.Msg {
	key := questionOf(query)
	if known := u.cache.get(key, time.Now()); known != nil {
		return known
	}
	in := u.askAll(query, whole)
	if in != nil {
		u.cache.put(key, in, time.Now())
	}
	return in
}

func (u *upstream) askAll(query *dns.Msg, whole bool) *dns.Msg {
	select {
	case u.tokens <- struct{}{}:
		defer func() { <-u.tokens }()
	default:
		return nil
	}
	for _, server := range u.nameservers() {
		in := u.ask(query, server, "udp")
		if in != nil && in.Truncated && whole {
			if full := u.ask(query, server, "tcp"); full != nil {
				in = full
			}
		}
		if in != nil {
			return in
		}
	}
	return nil
}

// ask makes one exchange. A failure is nil: the next server may know.
func (u *upstream) ask(query *dns.Msg, server, network string) *dns.Msg {
	ctx, cancel := context.WithTimeout(context.Background(), upstreamTimeout)
	defer cancel()
	var conn net.Conn
	err := netns.Do(u.netNS, func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, server)
		return err
	})
	if err != nil {
		return nil
	}
	defer conn.Close()
	client := dns.Client{Net: network, UDPSize: maxUDPAnswer, Timeout: upstreamTimeout}
	in, _, err := client.ExchangeWithConnContext(ctx, query, &dns.Conn{Conn: conn, UDPSize: maxUDPAnswer})
	if err != nil || in.Rcode == dns.RcodeServerFailure || in.Rcode == dns.RcodeRefused {
		return nil
	}
	return in
}

// nameservers returns the servers of resolv.conf, read again when the file has changed.
func (u *upstream) nameservers() []string {
	u.mu.Lock()
	servers, due := u.servers, time.Since(u.checked) > recheckConf
	changed := u.changed
	u.mu.Unlock()
	if !due {
		return servers
	}
	st, err := os.Stat(u.conf)
	if err == nil && !st.ModTime().Equal(changed) {
		if data, err := os.ReadFile(u.conf); err == nil {
			servers, changed = parseNameservers(string(data), u.self), st.ModTime()
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.servers, u.changed, u.checked = servers, changed, time.Now()
	return servers
}

// parseNameservers reads the nameserver lines of a resolv.conf, without self.
func parseNameservers(conf string, self netip.Addr) []string {
	var out []string
	for line := range strings.Lines(conf) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		ip, err := netip.ParseAddr(f[1])
		if err != nil || ip == self {
			continue
		}
		server := netip.AddrPortFrom(ip, 53).String()
		if len(out) < maxNameservers && !slices.Contains(out, server) {
			out = append(out, server)
		}
	}
	return out
}
