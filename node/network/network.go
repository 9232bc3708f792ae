// Package network says what the node agent needs of a pod network. Package routed is the built-in one:
// the node routes to a veth pair per pod, VXLAN leads to the other nodes.
package network

import (
	"context"
	"net/netip"

	"clipper/node/userns"
)

// Gateway returns the address that a node keeps for itself of its pod CIDR, the first: pods' way out, and
// where the node's DNS listens.
func Gateway(podCIDR netip.Prefix) netip.Addr { return podCIDR.Masked().Addr().Next() }

// A PodPort is a port of the node that leads to a pod (containers[].ports[].hostPort).
type PodPort struct {
	HostIP        netip.Addr // zero: every address of the node
	HostPort      uint16
	ContainerPort uint16
	Protocol      string // TCP, UDP, SCTP
}

// An Attachment is a pod's place in the network.
type Attachment struct {
	NetNS string       // path of the bind-mounted network namespace
	IPs   []netip.Addr // primary first
}

// A Network attaches pods. Every method is idempotent and safe to repeat after a crash at any instant.
type Network interface {
	// Attach makes the network namespace of the sandbox id, with loopback up and an address, and forwards
	// ports to it. Called again for the same id it returns what is there.
	Attach(ctx context.Context, id string, ports []PodPort) (Attachment, error)
	// Detach undoes Attach and frees the address. Nothing of that id is no error.
	Detach(ctx context.Context, id string) error
	// List returns the ids that are attached, so that the agent can detach those it no longer knows.
	List(ctx context.Context) ([]string, error)
}

// A UserNamespaced network can give a pod a user namespace, to which its network namespace then belongs.
type UserNamespaced interface {
	// Separate makes the namespaces of the sandbox id, ahead of Attach, unless it has one.
	Separate(id string, ids userns.IDs) error
}
