package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"clipper/store"
)

func describe(events []*store.Event) string {
	var out []string
	for _, e := range events {
		switch {
		case e.Old == nil:
			out = append(out, "+"+e.New.Key.Name)
		case e.New == nil:
			out = append(out, "-"+e.Last.Key.Name)
		default:
			out = append(out, fmt.Sprintf("%s:%d>%d", e.New.Key.Name, e.Old.Revision, e.New.Revision))
		}
	}
	return strings.Join(out, " ")
}

func TestFollowerIsOvertaken(t *testing.T) {
	o := options()
	o.RingSize = 5
	s := open(t, &memory{}, o)
	for _, name := range []string{"same", "changed", "gone", "anew"} {
		create(t, s, "ns", name, "")
	}
	f := s.Follow("pods")
	next := func() string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		events, err := f.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return describe(events)
	}
	if got := next(); got != "+anew +changed +gone +same" {
		t.Errorf("at first: %s", got)
	}
	create(t, s, "ns", "second", "")
	if got := next(); got != "+second" {
		t.Errorf("then: %s", got)
	}
	mustCommit(t, s, store.Write{Key: podKey("ns", "anew"), Expect: 5})
	mustCommit(t, s, store.Write{Key: podKey("ns", "gone"), Expect: 4})
	for rev := int64(3); ; {
		it := mustCommit(t, s, store.Write{Key: podKey("ns", "changed"), Expect: rev, Object: pod("ns", "changed", "")})
		if rev = it.Revision; rev == 20 {
			break
		}
	}
	create(t, s, "ns", "anew", "")
	create(t, s, "ns", "third", "")
	if got := next(); got != "-anew +anew changed:3>20 -gone +third" {
		t.Errorf("overtaken: %s", got)
	}
	create(t, s, "ns", "fourth", "")
	if got := next(); got != "+fourth" {
		t.Errorf("afterwards: %s", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
