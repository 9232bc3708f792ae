package daemon

import (
	"strings"
	"testing"
)

// TestLimitsOutOfRange: a limit that cannot be is refused by the name of its flag.
func TestLimitsOutOfRange(t *testing.T) {
	for flag, spoil := range map[string]func(*OperationOptions){
		"--http2-max-streams-per-connection": func(o *OperationOptions) { o.Limits.MaxStreams = -1 },
		"--goaway-chance":                    func(o *OperationOptions) { o.Limits.GoAwayChance = 0.5 },
		"--event-ttl":                        func(o *OperationOptions) { o.EventTTL = 0 },
		"--request-timeout":                  func(o *OperationOptions) { o.Limits.Request = -1 },
		"shutdown-watch-termination-grace-period, if provided, can not be a negative value": func(o *OperationOptions) { o.Limits.WatchGrace = -1 },
		"--livez-grace-period":    func(o *OperationOptions) { o.Limits.LivezGrace = -1 },
		"--max-requests-inflight": func(o *OperationOptions) { o.MaxReads = -1 },
	} {
		o := defaultOperation()
		if err := o.complete(); err != nil {
			t.Fatalf("the defaults: %v", err)
		}
		spoil(&o)
		if err := o.complete(); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: %v", flag, err)
		}
	}
}
