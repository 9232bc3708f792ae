package cpu

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"clipper/node/resources/affinity"
	"clipper/node/resources/topology"
)

// Names of the options, as users write them.
const (
	fullCores      = "full-pcpus-only"
	acrossNodes    = "distribute-cpus-across-numa"
	acrossCores    = "distribute-cpus-across-cores"
	alignBySocket  = "align-by-socket"
	strictReserved = "strict-cpu-reservation"
	byCache        = "prefer-align-cpus-by-uncorecache"
)

// gates are the options that a feature gate must allow, by its name.
var gates = map[string]string{alignBySocket: alphaGate, acrossCores: alphaGate}

const alphaGate = "CPUManagerPolicyAlphaOptions"

// options are which of them are set.
type options map[string]bool

// exclusive are pairs of options that contradict each other.
var exclusive = [][2]string{{fullCores, acrossCores}, {acrossNodes, acrossCores}, {byCache, acrossCores}, {byCache, acrossNodes}}

// parseOptions reads the policy's options as the kubelet does, whose errors these are.
func parseOptions(given map[string]string, features map[string]bool) (options, error) {
	known := []string{fullCores, acrossNodes, acrossCores, alignBySocket, strictReserved, byCache}
	out := options{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("unknown CPU Manager Policy option: %q", name)
		}
		if gate := gates[name]; gate != "" && !features[gate] {
			return nil, fmt.Errorf("CPU Manager Policy Alpha-level Options not enabled, but option %q provided", name) //nolint:staticcheck // upstream's words
		}
		on, err := strconv.ParseBool(given[name])
		if err != nil {
			return nil, fmt.Errorf("bad value for option %q: %w", name, err)
		}
		out[name] = on
	}
	for _, pair := range exclusive {
		if out[pair[0]] && out[pair[1]] {
			return nil, fmt.Errorf("static policy options %s and %s can not be used at the same time", pair[0], pair[1])
		}
	}
	return out, nil
}

// suit checks the options against the machine and its other policies.
func (o options) suit(m *topology.Machine, policy affinity.Policy) error {
	if !o[alignBySocket] {
		return nil
	}
	if policy.Name() == affinity.SingleNUMANode {
		return fmt.Errorf("Topolgy manager %s policy is incompatible with CPUManager %s policy option", affinity.SingleNUMANode, alignBySocket) //nolint:staticcheck // upstream's words
	}
	if m.Sockets > len(m.NodeIDs()) {
		return fmt.Errorf("Align by socket is not compatible with hardware where number of sockets are more than number of NUMA") //nolint:staticcheck // upstream's words
	}
	return nil
}
