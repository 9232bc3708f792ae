package csi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"k8s.io/apimachinery/pkg/util/version"

	"clipper/node/plugins"
)

// Register takes a driver: it can be used once the API knows what it says of this node.
func (p *Plugin) Register(ctx context.Context, d plugins.Plugin) error {
	if _, err := version.HighestSupportedVersion(d.Versions); err != nil {
		return fmt.Errorf("validation failed for CSI Driver %s at endpoint %s: %w", d.Name, d.Endpoint,
			errorf("ValidatePlugin for CSI driver %q failed. None of the versions specified %q are supported. err=%w", d.Name, d.Versions, err))
	}
	if !isFileName(d.Name) { // it becomes the name of a directory
		return fmt.Errorf("%q cannot be the name of a CSI driver", d.Name)
	}
	info, err := nodeInfo(ctx, d)
	if err != nil {
		return err
	}
	if info.GetNodeId() == "" {
		return errors.New("error adding CSI driver node info: driverNodeID must not be empty")
	}
	if err := p.install(ctx, d.Name, info); err != nil {
		return err
	}
	p.mu.Lock()
	p.drivers[d.Name] = d
	p.mu.Unlock()
	p.wake()
	p.cfg.Registered(d.Name)
	return nil
}

// Deregister drops a driver, unless another instance has taken its place.
func (p *Plugin) Deregister(d plugins.Plugin) {
	p.mu.Lock()
	current := p.drivers[d.Name].Socket == d.Socket
	if current {
		delete(p.drivers, d.Name)
	}
	p.mu.Unlock()
	if !current {
		return
	}
	p.wake()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if err := p.uninstall(ctx, d.Name); err != nil {
		slog.Warn("Telling the API that a CSI driver is gone failed", "driver", d.Name, "err", err)
	}
}

func (p *Plugin) wake() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// nodeInfo asks a driver how it calls this node and how many volumes it can have.
func nodeInfo(ctx context.Context, d plugins.Plugin) (*csipb.NodeGetInfoResponse, error) {
	conn, err := plugins.Dial(d.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("connect to CSI driver %s: %w", d.Name, err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return csipb.NewNodeClient(conn).NodeGetInfo(ctx, &csipb.NodeGetInfoRequest{})
}
