package daemon

import (
	"strings"
	"testing"
)

// TestNetworkSizes: networks must hold what a cluster needs of them.
func TestNetworkSizes(t *testing.T) {
	for _, tt := range []struct{ pods, services, fault string }{
		{"10.42.0.0/24", "10.43.0.0/28", ""},
		{"10.42.0.0/16", "10.43.0.0/29", `--service-cidr "10.43.0.0/29": give an IPv4 network of at least 16 addresses`},
		{"10.42.0.0/25", "10.43.0.0/16", `--pod-cidr "10.42.0.0/25": give an IPv4 network of at least 256 addresses`},
		{"10.42.0.0/16", "10.43.0.1/16", `--service-cidr "10.43.0.1/16": give an IPv4 network`},
	} {
		o := DefaultServerOptions()
		o.Node.Name, o.Node.IP, o.Node.DataDir = "n", "192.0.2.1", t.TempDir()
		o.PodCIDR, o.ServiceCIDR, o.NodeCIDRBits = tt.pods, tt.services, 28
		err := o.complete()
		if tt.fault == "" && err != nil || tt.fault != "" && (err == nil || !strings.Contains(err.Error(), tt.fault)) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}
