package client

import (
	"context"
	"errors"

	"clipper/node/network"
	"clipper/node/runtime"
)

// Network is the pod network of a runtime that attaches its sandboxes itself. It implements network.Network.
type Network struct{ Runtime *Runtime }

var _ network.Network = Network{}

// Attach returns the addresses of a sandbox that runs. One that does not gets them when it is made.
func (n Network) Attach(ctx context.Context, id string, _ []network.PodPort) (network.Attachment, error) {
	st, err := n.Runtime.SandboxStatus(ctx, id)
	if errors.Is(err, runtime.ErrNotFound) || err == nil && !st.Ready {
		return network.Attachment{}, nil
	}
	return network.Attachment{IPs: st.IPs}, err
}

// Detach does nothing: stopping the sandbox has done it.
func (n Network) Detach(context.Context, string) error { return nil }

// List is empty: nothing can be left that the runtime does not hold.
func (n Network) List(context.Context) ([]string, error) { return nil, nil }
