package dns

import (
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Limits of the cache of answers about the outside world.
const (
	maxCached   = 4096             // answers in each of two generations
	longestKept = 30 * time.Second // whatever an answer's TTL: what CoreDNS does by default
)

// A question is what answers are kept under.
type question struct {
	name             string // lower case
	qtype            uint16
	dnssec, checking bool
}

func questionOf(m *dns.Msg) question {
	opt := m.IsEdns0()
	return question{name: strings.ToLower(m.Question[0].Name), qtype: m.Question[0].Qtype,
		dnssec: opt != nil && opt.Do(), checking: m.CheckingDisabled}
}

type answer struct {
	msg           *dns.Msg // shared and never changed
	since, expiry time.Time
}

// A cache keeps answers in two generations: when the young one is full the old one is forgotten, and what is
// asked for again moves to the young. So it is bounded without keeping an order.
type cache struct {
	mu         sync.Mutex
	young, old map[question]answer
}

// get returns a copy of what is known at the time now, its TTLs reduced by the time it has been known.
func (c *cache) get(q question, now time.Time) *dns.Msg {
	c.mu.Lock()
	a, ok := c.young[q]
	if !ok {
		if a, ok = c.old[q]; ok {
			c.addLocked(q, a)
		}
	}
	c.mu.Unlock()
	if !ok || !now.Before(a.expiry) {
		return nil
	}
	m := a.msg.Copy()
	age := uint32(now.Sub(a.since) / time.Second)
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			if h := rr.Header(); h.Rrtype != dns.TypeOPT {
				h.Ttl -= min(age, h.Ttl)
			}
		}
	}
	return m
}

// put keeps an answer for as long as it says, and no longer than longestKept.
func (c *cache) put(q question, m *dns.Msg, now time.Time) {
	life := lifetime(m)
	if life <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addLocked(q, answer{msg: m.Copy(), since: now, expiry: now.Add(life)})
}

func (c *cache) addLocked(q question, a answer) {
	if len(c.young) >= maxCached || c.young == nil {
		c.old, c.young = c.young, map[question]answer{}
	}
	c.young[q] = a
}

// lifetime is the shortest TTL of an answer or, for "no such name" and "no data", what its SOA record says.
// Anything else, and what was cut off, is not kept.
func lifetime(m *dns.Msg) time.Duration {
	if m.Truncated || m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return 0
	}
	life := longestKept
	shorten := func(ttl uint32) { life = min(life, time.Duration(ttl)*time.Second) }
	for _, rr := range m.Answer {
		shorten(rr.Header().Ttl)
	}
	if len(m.Answer) > 0 {
		return life
	}
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			shorten(min(soa.Hdr.Ttl, soa.Minttl))
			return life
		}
	}
	return 0
}
