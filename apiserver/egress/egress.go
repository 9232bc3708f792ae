// Package egress knows how the API server reaches others: directly, or through the proxies that an
// EgressSelectorConfiguration names. There may be one for each of three kinds: nodes, pods and services ("cluster"), servers
// that the control plane asks ("controlplane"), and etcd.
package egress

import (
	"context"
	"fmt"
	"net"

	"k8s.io/apiserver/pkg/server/egressselector"
)

// Dial connects to an address. Nil is an ordinary dial.
type Dial = func(ctx context.Context, network, address string) (net.Conn, error)

// Dialers connect to each kind of server. The zero value connects directly to all.
type Dialers struct {
	Cluster, ControlPlane, Etcd Dial
	// Lookup is how upstream's libraries ask for them. Nil: there is no configuration.
	Lookup egressselector.Lookup
}

// Load reads an EgressSelectorConfiguration; "" is none.
func Load(file string) (Dialers, error) {
	if file == "" {
		return Dialers{}, nil
	}
	config, err := egressselector.ReadEgressSelectorConfiguration(file)
	if err != nil {
		return Dialers{}, fmt.Errorf("failed to read egress selector config: %w", err)
	}
	if faults := egressselector.ValidateEgressSelectorConfiguration(config); len(faults) > 0 {
		return Dialers{}, fmt.Errorf("failed to validate egress selector configuration: %w", faults.ToAggregate())
	}
	selector, err := egressselector.NewEgressSelector(config)
	if err != nil {
		return Dialers{}, fmt.Errorf("failed to setup egress selector: %w", err)
	}
	if selector == nil { // it selects nothing
		return Dialers{}, nil
	}
	d := Dialers{Lookup: selector.Lookup}
	for kind, dial := range map[egressselector.EgressType]*Dial{
		egressselector.Cluster: &d.Cluster, egressselector.ControlPlane: &d.ControlPlane, egressselector.Etcd: &d.Etcd,
	} {
		found, err := selector.Lookup(kind.AsNetworkContext())
		if err != nil {
			return Dialers{}, fmt.Errorf("failed to setup egress selector for %s: %w", kind, err)
		}
		*dial = Dial(found)
	}
	return d, nil
}
