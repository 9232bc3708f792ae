package daemon

import (
	"context"
	"log/slog"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"clipper/image"
	"clipper/node"
	"clipper/node/kubeletconfig"
	"clipper/node/logs"
	"clipper/node/runtime"
	"clipper/node/runtime/cri/server"
	"clipper/node/runtime/embedded"
)

// CRISocketName is where the built-in runtime serves the container runtime interface, in the data directory.
const CRISocketName = "cri.sock"

// containers are what runs a node's pods.
type containers struct {
	runtime runtime.Runtime
	images  runtime.Images
	run     func(context.Context) error // keeps them working until ctx ends; containers stay
	close   func()
}

// openRuntime opens the built-in runtime.
func (m *machine) openRuntime(ctx context.Context, config *kubeletconfig.Configuration) (*containers, error) {
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
	return &containers{runtime: rt, images: images, run: run, close: rt.Close}, nil
}

// sandboxNetwork is the network for sandboxes that are not the agent's, nil before there is one.
func (m *machine) sandboxNetwork() server.Network {
	if n := m.network.Load(); n != nil {
		return n
	}
	return nil
}
