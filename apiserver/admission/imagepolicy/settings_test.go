package imagepolicy

import (
	"testing"
	"time"
)

func TestSettings(t *testing.T) {
	for text, want := range map[string]settings{
		"{}": {AllowTTL: 5 * time.Minute, DenyTTL: 30 * time.Second, RetryBackoff: 500 * time.Millisecond},
		"{allowTTL: 2, denyTTL: 1800, retryBackoff: 1}":     {AllowTTL: 2 * time.Second, DenyTTL: 30 * time.Minute, RetryBackoff: time.Millisecond},
		"{allowTTL: -1, denyTTL: -1, retryBackoff: 300000}": {RetryBackoff: 5 * time.Minute},
		"{allowTTL: 1}":          {}, // neither of the bounds of time to live is one itself
		"{denyTTL: 1801}":        {},
		"{retryBackoff: 300001}": {},
		"{retryBackoff: -2}":     {},
		"{allowTTL: 5m}":         {},
	} {
		s, err := readSettings([]byte("imagePolicy: " + text))
		if (err != nil) != (want == settings{}) || err == nil && *s != want {
			t.Errorf("%s: %+v, %v", text, s, err)
		}
	}
	if _, err := readSettings(nil); err == nil {
		t.Error("nothing is a configuration")
	}
}

// FuzzSettings: what is taken is within bounds.
func FuzzSettings(f *testing.F) {
	f.Add([]byte("imagePolicy: {kubeConfigFile: /x, allowTTL: 50, denyTTL: 50, retryBackoff: 500, defaultAllow: true}"))
	f.Add([]byte(`{"imagePolicy":{"allowTTL":-1,"denyTTL":0,"retryBackoff":9223372036854775807}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := readSettings(text)
		if err != nil {
			return
		}
		for _, d := range []time.Duration{s.AllowTTL, s.DenyTTL, s.RetryBackoff} {
			if d < 0 || d > 30*time.Minute {
				t.Errorf("%q: %v", text, d)
			}
		}
	})
}
