package daemon

import (
	"net/netip"
	"strings"
	"testing"
)

func TestFront(t *testing.T) {
	for _, tt := range []struct {
		o   FrontOptions
		err string
	}{
		{FrontOptions{HSTS: []string{"max-age=5", "includeSubDomains", "preload"}, Origins: []string{`^https://a\.example$`, `//b\.example(:|$)`}, Advertise: netip.MustParseAddr("192.0.2.1")}, ""},
		{FrontOptions{HSTS: []string{" "}}, "empty value in strict-transport-security-directives"},
		{FrontOptions{HSTS: []string{"maxage=5"}}, "--strict-transport-security-directives invalid, allowed values: max-age=expireTime"},
		{FrontOptions{HSTS: []string{"max-age=5=6"}}, "--strict-transport-security-directives invalid"},
		{FrontOptions{Origins: []string{"["}}, "--cors-allowed-origins has an invalid regular expression: error parsing regexp"},
		{FrontOptions{Origins: []string{"example"}}, "does not pin to start/end of host in the origin header"},
		{FrontOptions{Origins: []string{""}}, "empty value in --cors-allowed-origins"},
		{FrontOptions{Advertise: netip.IPv4Unspecified()}, "--advertise-address 0.0.0.0: give an address that the cluster can reach"},
	} {
		err := tt.o.complete()
		if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%+v: %v, want %q", tt.o, err, tt.err)
		}
		if tt.o.NodePorts.Size != 2768 {
			t.Errorf("node ports %v", tt.o.NodePorts)
		}
	}
}

func TestExternalName(t *testing.T) {
	for host, want := range map[string]string{"": "", "api.example.com": "api.example.com", "api.example.com:8443": "api.example.com", "[2001:db8::1]:443": "2001:db8::1", "2001:db8::1": "2001:db8::1"} {
		if got := (&FrontOptions{ExternalHost: host}).externalName(); got != want {
			t.Errorf("%q: %q, want %q", host, got, want)
		}
	}
}
