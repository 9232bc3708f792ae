package daemon

import (
	"strings"
	"testing"
)

// TestNetworkSizes: networks must hold what a cluster needs of them.
func TestNetworkSizes(t *testing.T) {
	for _, tt := range []struct{ pods, services, fault string }{
		{"10.42.0.0/24", "10.43.0.0/28", ""},
		{"10.42.0.0/16", "10.43.0.0/29", ""},
		{"10.42.0.0/16", "10.43.0.0/30", "--service-cidr 10.43.0.0/30: the service cluster IP range must be at least 8 IP addresses"},
		{"10.42.0.0/16", "10.43.0.0/16,fd00:43::/108", ""},
		{"10.42.0.0/16", "fd00:43::/108,10.43.0.0/16", `service IP family "fd00:43::/108" must match public address family "192.0.2.1"`},
		{"10.42.0.0/16", "fd00:43::/112", "--service-cidr fd00:43::/112: this server is a node, too, and nodes need an IPv4 network"},
		{"10.42.0.0/16", "10.43.0.0/16,10.44.0.0/16", "--service-cidr[0] and [1] must be of different IP family"},
		{"10.42.0.0/16", "10.43.0.0/16,", `--service-cidr[1] "" is not a valid cidr`},
		{"10.42.0.0/16", "a,b,c", "--service-cidr must not contain more than two entries"},
		{"10.42.0.0/25", "10.43.0.0/16", `--pod-cidr "10.42.0.0/25": give an IPv4 network of at least 256 addresses`},
		{"10.42.0.0/16", "10.43.0.1/16", ""}, // the network that the address is in
		{"10.42.0.0/16", "10.43.0.0/16,fd00:43::/48", `--service-cidr[1] "fd00:43::/48": shortest allowed prefix length for service CIDR is 64, got 48`},
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

// TestNoUIDByDefault: proxies are believed a UID only where a flag names its header, as upstream.
func TestNoUIDByDefault(t *testing.T) {
	if o := DefaultServerOptions(); len(o.Identity.Proxy.UIDHeaders) != 0 {
		t.Errorf("UID headers are %q", o.Identity.Proxy.UIDHeaders)
	}
}
