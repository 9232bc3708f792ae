package token

import (
	"context"
	"encoding/base64"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"clipper/node/nodetest"
)

func TestTokensAreRenewedInTime(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	for _, tc := range []struct{ life, want time.Duration }{
		{time.Hour, 48 * time.Minute}, {10 * time.Minute, 8 * time.Minute}, {365 * 24 * time.Hour, 24 * time.Hour},
	} {
		if got := (Token{issued: now, Expires: now.Add(tc.life)}).renewAt().Sub(now); got != tc.want {
			t.Errorf("a token of %s is renewed after %s, want %s", tc.life, got, tc.want)
		}
	}
}

// TestCache in virtual time: one token for two who ask the same, another when its time has come, none of those who are gone.
func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := nodetest.NewClient()
		c := New(api)
		pod := &corev1.Pod{}
		pod.UID, pod.Namespace = "uid", "ns"
		get := func(want string) {
			t.Helper()
			got, err := c.Get(context.Background(), pod, Request{Seconds: 3600})
			if err != nil || got.Value != want {
				t.Errorf("got %q, %v; want %q", got.Value, err, want)
			}
		}
		get("token-1-of-ns-default")
		get("token-1-of-ns-default")
		select {
		case <-c.News():
		default:
			t.Error("nobody is told of a token")
		}
		if due, next := c.Due(time.Now()); len(due) != 0 || time.Until(next) != 48*time.Minute {
			t.Errorf("due %v, next in %v", due, time.Until(next))
		}
		time.Sleep(48 * time.Minute)
		if due, _ := c.Due(time.Now()); !due["uid"] {
			t.Error("the token is not due")
		}
		get("token-2-of-ns-default")
		c.Forget("uid")
		get("token-3-of-ns-default")
	})
}

// FuzzParse: what is taken for a token has a beginning and an end.
func FuzzParse(f *testing.F) {
	f.Add("h." + base64.RawURLEncoding.EncodeToString([]byte(`{"exp":20,"iat":10}`)) + ".s")
	f.Add("a.b")
	f.Add("..")
	f.Fuzz(func(t *testing.T, s string) {
		if got, ok := parse(s); ok && (got.Value != s || got.Expires.IsZero() || got.issued.IsZero()) {
			t.Errorf("%q: %+v", s, got)
		}
	})
}
