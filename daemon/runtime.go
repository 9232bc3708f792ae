package daemon

import (
	"cmp"
	"context"
	"log/slog"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"clipper/image"
	"clipper/node"
	"clipper/node/kubeletconfig"
	"clipper/node/logs"
	"clipper/node/network"
	"clipper/node/network/cni"
	"clipper/node/network/routed"
	"clipper/node/runtime"
	"clipper/node/runtime/cri/client"
	"clipper/node/runtime/cri/server"
	"clipper/node/runtime/embedded"
)

// CRISocketName is where the built-in runtime serves the container runtime interface, in the data directory.
const CRISocketName = "cri.sock"

// containers are what runs a node's pods.
type containers struct {
	runtime       runtime.Runtime
	images        runtime.Images
	name, version string                      // "" for the built-in one's
	run           func(context.Context) error // keeps them working until ctx ends; containers stay
	close         func()
	// network makes the node's network, which is up, that of the runtime's pods.
	network func(context.Context, *machine, *routed.Network) (network.Network, error)
}

// openRuntime opens the runtime that the options name, else the one that the settings name, else the built-in one.
func (m *machine) openRuntime(ctx context.Context, config *kubeletconfig.Configuration) (*containers, error) {
	if endpoint := cmp.Or(m.options.ContainerRuntimeEndpoint, config.ContainerRuntimeEndpoint); endpoint != "" {
		return openCRI(ctx, endpoint, config.ImageServiceEndpoint)
	}
	return m.openEmbedded(ctx, config)
}

// openCRI connects to a runtime of another make. It attaches its sandboxes itself: the node's network is there for it
// as a CNI plug-in.
func openCRI(ctx context.Context, endpoint, imageEndpoint string) (*containers, error) {
	rt, err := client.Open(ctx, endpoint, imageEndpoint)
	if err != nil {
		return nil, err
	}
	return &containers{
		runtime: rt, images: rt.Images(), name: rt.Name(), version: rt.Version(), run: rt.Run, close: rt.Close,
		network: func(ctx context.Context, m *machine, n *routed.Network) (network.Network, error) {
			socket := filepath.Join(m.options.DataDir, "cni.sock")
			if err := cni.Install(filepath.Join(m.options.DataDir, "cni"), socket); err != nil {
				return nil, err
			}
			plugin := cni.NewServer(socket, n, rt.SandboxIDs)
			m.group.Go(func() error { return plugin.Run(ctx) })
			return rt.Network(ctx)
		},
	}, nil
}

func (m *machine) openEmbedded(ctx context.Context, config *kubeletconfig.Configuration) (*containers, error) {
	o := &m.options
	images, err := image.Open(image.NodeOptions(o.DataDir))
	if err != nil {
		return nil, err
	}
	flood, err := logs.Flood(config)
	if err != nil {
		return nil, err
	}
	rt, err := embedded.Open(ctx, embedded.Options{DataDir: o.DataDir, Snapshots: images, ShimCgroup: o.CgroupRoot + "/shim", LogLimits: flood})
	if err != nil {
		return nil, err
	}
	tools := server.New(server.Options{
		Socket: filepath.Join(o.DataDir, CRISocketName), Dir: filepath.Join(o.DataDir, "cri"),
		Runtime: rt, Images: images, Network: m.sandboxNetwork, CgroupParent: o.CgroupRoot + "/cri", Version: node.Version,
	})
	run := func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return rt.Run(ctx) })
		group.Go(func() error {
			// Pods run without it.
			if err := tools.Run(ctx); err != nil {
				slog.Warn("crictl and the like will not work", "err", err)
			}
			return nil
		})
		return group.Wait()
	}
	return &containers{
		runtime: rt, images: images, run: run, close: rt.Close,
		network: func(_ context.Context, _ *machine, n *routed.Network) (network.Network, error) { return n, nil },
	}, nil
}

// sandboxNetwork is the network for sandboxes that are not the agent's, nil before there is one.
func (m *machine) sandboxNetwork() server.Network {
	if n := m.network.Load(); n != nil {
		return n
	}
	return nil
}
