package daemon

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	netutils "k8s.io/utils/net"

	"clipper/apiserver/allocate"
)

// leastServices is how many addresses the first service range must have. Upstream's figure.
const leastServices = 8

// serviceRanges reads --service-cidr: a network, or one of each IP family. The first is the default family's.
func serviceRanges(text string) ([]netip.Prefix, error) {
	parts := strings.Split(text, ",")
	if len(parts) > 2 {
		return nil, errors.New("must not contain more than two entries")
	}
	var out []netip.Prefix
	for i, part := range parts {
		_, network, err := netutils.ParseCIDRSloppy(part)
		if err != nil {
			return nil, fmt.Errorf("[%d] %q is not a valid cidr; give one such as 10.43.0.0/16", i, part)
		}
		p := netip.MustParsePrefix(network.String())
		if p.Addr().Is6() && p.Bits() < allocate.ShortestIPv6 {
			return nil, fmt.Errorf("[%d] %q: shortest allowed prefix length for service CIDR is %d, got %d", i, part, allocate.ShortestIPv6, p.Bits())
		}
		out = append(out, p)
	}
	if bits := out[0].Addr().BitLen() - out[0].Bits(); 1<<min(bits, 16) < leastServices {
		return nil, fmt.Errorf("%s: the service cluster IP range must be at least %d IP addresses", out[0], leastServices)
	}
	if len(out) == 2 && out[0].Addr().Is4() == out[1].Addr().Is4() {
		return nil, errors.New("[0] and [1] must be of different IP family")
	}
	return out, nil
}

// nodeRange is the range that nodes route, which is of IPv4, or the first if there is none.
func nodeRange(ranges []netip.Prefix) netip.Prefix {
	if i := slices.IndexFunc(ranges, func(p netip.Prefix) bool { return p.Addr().Is4() }); i >= 0 {
		return ranges[i]
	}
	return ranges[0]
}

// checkServices checks the service ranges, and that the rest goes with them.
func (o *ServerOptions) checkServices() error {
	ranges, err := serviceRanges(o.ServiceCIDR)
	if err != nil {
		return fmt.Errorf("--service-cidr%s", spaced(err))
	}
	if !o.DisableAgent && !nodeRange(ranges).Addr().Is4() {
		return fmt.Errorf("--service-cidr %s: this server is a node, too, and nodes need an IPv4 network; add one, or give --disable-agent", o.ServiceCIDR)
	}
	public := o.Front.Advertise
	if !public.IsValid() {
		public, _ = netip.ParseAddr(o.Node.IP) // complete says what is wrong with it
	}
	if public.IsValid() && public.Is4() != ranges[0].Addr().Is4() {
		return fmt.Errorf("service IP family \"%s\" must match public address family \"%s\": put the network of the family of --advertise-address first in --service-cidr", ranges[0], public)
	}
	return nil
}

// spaced is err's text behind a flag's name: an index follows it at once.
func spaced(err error) string {
	if text := err.Error(); strings.HasPrefix(text, "[") {
		return text
	}
	return " " + err.Error()
}
