package apiserver_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"clipper/apiserver"
	"clipper/apiserver/servertest"
)

// TestHooks: a part that is not there yet fails /readyz, and /livez only when it has had time enough.
func TestHooks(t *testing.T) {
	part := apiserver.Hook{Name: "poststarthook/part", Started: func(context.Context) error { return errors.New("not yet") }}
	for _, tt := range []struct {
		grace         time.Duration
		livez, readyz int
	}{{0, 500, 500}, {time.Hour, 200, 500}} {
		s := start(t, servertest.Options{Server: func(o *apiserver.Options) {
			o.Hooks, o.Limits.LivezGrace = []apiserver.Hook{part}, tt.grace
		}})
		for path, want := range map[string]int{"/livez": tt.livez, "/readyz": tt.readyz, "/readyz?exclude=poststarthook/part": 200} {
			if res, body := (call{method: "GET", path: path}).do(t, s); res.StatusCode != want {
				t.Errorf("grace %v: %s: %d %s", tt.grace, path, res.StatusCode, body)
			}
		}
	}
}
