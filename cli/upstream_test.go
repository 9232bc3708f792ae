package cli

import (
	_ "embed"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"clipper/daemon"
)

// upstream lists the flags of kube-apiserver v1.36.
//
//go:embed testdata/kube-apiserver-flags.txt
var upstream string

// absent are those that a server does not have, and why: a flag without an effect would deceive whoever sets it.
var absent = map[string]string{
	"admission-control":                           "has been deprecated for years; --enable-admission-plugins",
	"apiserver-count":                             "belongs to a way to write endpoints that upstream gives up",
	"coordinated-leadership-lease-duration":       "belongs to CoordinatedLeaderElection, which is off by default",
	"coordinated-leadership-renew-deadline":       "as coordinated-leadership-lease-duration",
	"coordinated-leadership-retry-period":         "as coordinated-leadership-lease-duration",
	"emulated-version":                            "a server is of one version",
	"emulation-forward-compatible":                "as emulated-version",
	"enable-logs-handler":                         "has been deprecated for years; logs go to the standard error",
	"kubelet-port":                                "is deprecated; nodes say at which port their agent listens",
	"kubelet-read-only-port":                      "is deprecated, and without effect",
	"kubernetes-service-node-port":                "the service default/kubernetes has no node port",
	"log-json-info-buffer-size":                   "is alpha upstream, behind a feature gate that is off",
	"log-json-split-stream":                       "is alpha upstream, behind a feature gate that is off",
	"log-text-info-buffer-size":                   "is alpha upstream, behind a feature gate that is off",
	"log-text-split-stream":                       "is alpha upstream, behind a feature gate that is off",
	"log-flush-frequency":                         "logs are not buffered",
	"min-compatibility-version":                   "as emulated-version",
	"peer-advertise-ip":                           "requests are not passed on to peers: UnknownVersionInteroperabilityProxy is off, and stays so",
	"peer-advertise-port":                         "as peer-advertise-ip",
	"peer-ca-file":                                "as peer-advertise-ip",
	"runtime-config-emulation-forward-compatible": "as emulated-version",
	"storage-initialization-timeout":              "nothing is served before the store is open",
}

// TestUpstreamsFlags: each flag of kube-apiserver is there, or there is a reason.
func TestUpstreamsFlags(t *testing.T) {
	o, cmd := daemon.DefaultServerOptions(), &cobra.Command{}
	serverFlags(cmd, &o)
	newLogging().flags(cmd)
	known := map[string]bool{}
	for name := range strings.FieldsSeq(upstream) {
		known[name] = true
		has, why := cmd.Flags().Lookup(name) != nil, absent[name]
		if !has && why == "" {
			t.Errorf("--%s is not there, for no reason", name)
		}
		if has && why != "" {
			t.Errorf("--%s is there, and should not be: %s", name, why)
		}
	}
	for name := range absent {
		if !known[name] {
			t.Errorf("--%s is no flag of upstream's", name)
		}
	}
}
