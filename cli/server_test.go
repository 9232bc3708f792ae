package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"clipper/daemon"
)

// parse returns the options that a server's flags amount to.
func parse(args ...string) (*daemon.ServerOptions, error) {
	o, cmd := daemon.DefaultServerOptions(), &cobra.Command{}
	serverFlags(cmd, &o)
	err := cmd.ParseFlags(args)
	if err == nil {
		err = cmd.ValidateFlagGroups()
	}
	return &o, err
}

// TestUpstreamsForms: flags take what kube-apiserver's do, which is a number of seconds for some and a time for others.
func TestUpstreamsForms(t *testing.T) {
	o, err := parse("--min-request-timeout=1800", "--shutdown-watch-termination-grace-period=20s", "--etcd-count-metric-poll-period=0",
		"--etcd-db-metric-poll-interval=30s", "--storage-backend=etcd3", "--etcd-servers=http://127.0.0.1:2379", "--delete-collection-workers=3")
	if err != nil {
		t.Fatal(err)
	}
	if l := o.Operation.Limits; l.MinWatch != 1800*time.Second || l.WatchGrace != 20*time.Second || o.Operation.DeleteWorkers != 3 {
		t.Errorf("%+v %+v", l, o.Operation)
	}
	if d := o.Datastore; !d.HideCounts || d.HideSize || d.Backend != "etcd3" {
		t.Errorf("%+v", d)
	}
}

// TestFlagFaults: what no flag takes.
func TestFlagFaults(t *testing.T) {
	for arg, want := range map[string]string{
		"--min-request-timeout=30m":                        `invalid argument "30m" for "--min-request-timeout" flag`,
		"--etcd-db-metric-poll-interval=often":             `time: invalid duration "often"`,
		"--encryption-provider-config-automatic-reload=so": `invalid argument "so"`,
	} {
		if _, err := parse(arg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", arg, err)
		}
	}
}
