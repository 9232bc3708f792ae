package client

import (
	"context"
	"errors"

	"clipper/node/network"
	"clipper/node/runtime"
	"clipper/node/userns"
)

// Network is the pod network of a runtime that attaches its sandboxes itself.
func (r *Runtime) Network(ctx context.Context) (network.Network, error) {
	f, err := r.Features(ctx)
	if err != nil {
		return nil, err
	}
	for _, h := range f.Handlers {
		if h.Name == "" && h.UserNamespaces {
			return separating{delegated{r}}, nil
		}
	}
	return delegated{r}, nil
}

// delegated leaves everything to the runtime.
type delegated struct{ runtime *Runtime }

// separating is delegated to a runtime that can give pods user namespaces.
type separating struct{ delegated }

var _ network.UserNamespaced = separating{}

// Separate does nothing: the runtime makes the namespaces with the sandbox.
func (separating) Separate(string, userns.IDs) error { return nil }

// Attach returns the addresses of a sandbox that runs. One that does not gets them when it is made.
func (n delegated) Attach(ctx context.Context, id string, _ []network.PodPort) (network.Attachment, error) {
	st, err := n.runtime.SandboxStatus(ctx, id)
	if errors.Is(err, runtime.ErrNotFound) || err == nil && !st.Ready {
		return network.Attachment{}, nil
	}
	return network.Attachment{IPs: st.IPs}, err
}

// Detach does nothing: stopping the sandbox has done it.
func (delegated) Detach(context.Context, string) error { return nil }

// List is empty: nothing can be left that the runtime does not hold.
func (delegated) List(context.Context) ([]string, error) { return nil, nil }
