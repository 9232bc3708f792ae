package dns

import (
	"net/netip"
	"testing"
)

// TestServiceIP: the tenth address, or in a small network the last that is not everybody's.
func TestServiceIP(t *testing.T) {
	for network, want := range map[string]string{
		"10.43.0.0/16": "10.43.0.10", "10.43.0.0/28": "10.43.0.10", "10.43.0.8/29": "10.43.0.14", "fd00:43::/108": "fd00:43::a",
	} {
		if got := ServiceIP(netip.MustParsePrefix(network)); got.String() != want {
			t.Errorf("%s: %s, want %s", network, got, want)
		}
	}
}
