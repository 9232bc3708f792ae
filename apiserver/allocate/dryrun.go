package allocate

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// A dry run takes nothing and looks at little, as upstream: values that the client named are compared with what is there,
// and what it did not name it gets a value for that says no more than that there would be one.

var errNotReady = errors.New("allocator not ready")

// firstDryPort is the first of the ports that a dry run gives, the range of the server notwithstanding.
const firstDryPort = 32769

// dryBlock is the range that a dry run thinks of.
func (t *taking) dryBlock(f *family) (block, error) {
	if blocks := t.blocks(f); len(blocks) > 0 {
		return blocks[0], nil
	}
	return block{}, errNotReady
}

// dryAddress says whether a service could have ip, if nobody else has it.
func (t *taking) dryAddress(f *family, ip netip.Addr) error {
	b, err := t.dryBlock(f)
	if err == nil && !b.contains(ip) {
		err = fmt.Errorf("the provided IP (%v) is not in the valid range. The range of valid IPs is %s", ip, b.prefix)
	}
	return err
}

// dryAnyAddress is that of the network, which no service has.
func (t *taking) dryAnyAddress(f *family) (netip.Addr, error) {
	b, err := t.dryBlock(f)
	return b.prefix.Addr(), err
}

// dryPort says whether a service could have a port.
func (t *taking) dryPort(port int32) error {
	if t.ports.has(port) || slices.Contains(t.dryPorts, port) {
		return errPortAllocated
	}
	t.dryPorts = append(t.dryPorts, port)
	return nil
}

func (t *taking) dryAnyPort() int32 {
	port := int32(firstDryPort)
	if len(t.dryPorts) > 0 {
		port = slices.Max(t.dryPorts) + 1
	}
	t.dryPorts = append(t.dryPorts, port)
	return port
}
