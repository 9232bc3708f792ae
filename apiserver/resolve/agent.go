package resolve

import (
	"fmt"
	"net"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// agentPort is where a node's agent listens that does not say so. Upstream's.
const agentPort = 10250

// A Preference is which of a node's addresses are spoken to, best first. Empty: the addresses that upstream's default
// picks, were names resolvable.
type Preference []corev1.NodeAddressType

var byDefault = Preference{corev1.NodeInternalIP, corev1.NodeExternalIP, corev1.NodeHostName}

// Agent returns where the agent of a node listens.
func (p Preference) Agent(node *corev1.Node) (*url.URL, error) {
	host := p.address(node)
	if host == "" {
		return nil, fmt.Errorf("no preferred addresses found; known addresses: %v", node.Status.Addresses)
	}
	port := node.Status.DaemonEndpoints.KubeletEndpoint.Port
	if port == 0 {
		port = agentPort
	}
	return &url.URL{Scheme: "https", Host: net.JoinHostPort(host, strconv.Itoa(int(port)))}, nil
}

func (p Preference) address(node *corev1.Node) string {
	if len(p) == 0 {
		p = byDefault
	}
	for _, t := range p {
		for _, a := range node.Status.Addresses {
			if a.Type == t {
				return a.Address
			}
		}
	}
	return ""
}
