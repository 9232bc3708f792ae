package dns

import (
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func parse(t *testing.T, rr string) dns.RR {
	t.Helper()
	out, err := dns.NewRR(rr)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestLifetime(t *testing.T) {
	a, short := "example.org. 300 IN A 192.0.2.1", "example.org. 7 IN A 192.0.2.2"
	soa := "org. 20 IN SOA a. b. 1 2 3 4 10"
	for _, c := range []struct {
		what       string
		rcode      int
		answer, ns []string
		truncated  bool
		want       time.Duration
	}{
		{"long", dns.RcodeSuccess, []string{a}, nil, false, 30 * time.Second},
		{"the shortest counts", dns.RcodeSuccess, []string{a, short}, nil, false, 7 * time.Second},
		{"cut off", dns.RcodeSuccess, []string{a}, nil, true, 0},
		{"no such name", dns.RcodeNameError, nil, []string{soa}, false, 10 * time.Second},
		{"no data", dns.RcodeSuccess, nil, []string{soa}, false, 10 * time.Second},
		{"nothing at all", dns.RcodeSuccess, nil, nil, false, 0},
		{"failure", dns.RcodeServerFailure, nil, []string{soa}, false, 0},
	} {
		m := &dns.Msg{}
		m.Rcode, m.Truncated = c.rcode, c.truncated
		for _, rr := range c.answer {
			m.Answer = append(m.Answer, parse(t, rr))
		}
		for _, rr := range c.ns {
			m.Ns = append(m.Ns, parse(t, rr))
		}
		if got := lifetime(m); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
}

func TestCacheAges(t *testing.T) {
	var c cache
	now := time.Unix(1000, 0)
	q := question{name: "example.org.", qtype: dns.TypeA}
	c.put(q, &dns.Msg{Answer: []dns.RR{parse(t, "example.org. 20 IN A 192.0.2.1")}}, now)
	for after, want := range map[time.Duration]uint32{0: 20, 5500 * time.Millisecond: 15, 19 * time.Second: 1} {
		m := c.get(q, now.Add(after))
		if m == nil || m.Answer[0].Header().Ttl != want {
			t.Errorf("after %s: %v, want TTL %d", after, m, want)
		}
	}
	if c.get(q, now.Add(20*time.Second)) != nil {
		t.Error("an answer outlived its TTL")
	}
	if c.get(question{name: "example.org.", qtype: dns.TypeAAAA}, now) != nil {
		t.Error("the answer to another question")
	}
}

func TestCacheIsBounded(t *testing.T) {
	var c cache
	now := time.Unix(1000, 0)
	name := func(i int) question { return question{name: fmt.Sprint(i)} }
	for i := range 5 * maxCached {
		c.put(name(i), &dns.Msg{Answer: []dns.RR{parse(t, "a. 20 IN A 192.0.2.1")}}, now)
		if c.get(name(0), now) == nil {
			t.Fatalf("what is asked for all the time was forgotten after %d others", i)
		}
	}
	if n := len(c.young) + len(c.old); n > 2*maxCached {
		t.Errorf("%d answers are kept", n)
	}
}
