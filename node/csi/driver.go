package csi

import (
	"context"
	"fmt"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	"clipper/node/plugins"
)

// A session is a connection to a driver for one operation, and what the driver can do. Drivers restart
// between operations; a connection that is kept would have to find that out.
type session struct {
	csipb.NodeClient
	conn  *grpc.ClientConn
	can   map[csipb.NodeServiceCapability_RPC_Type]bool
	close context.CancelFunc
}

// driver returns a registered driver.
func (p *Plugin) driver(name string) (plugins.Plugin, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d, ok := p.drivers[name]
	if !ok {
		return plugins.Plugin{}, fmt.Errorf("driver name %s not found in the list of registered CSI drivers", name)
	}
	return d, nil
}

// open starts an operation, which ctx of the result bounds. The session must be ended.
func (p *Plugin) open(ctx context.Context, name string) (context.Context, *session, error) {
	d, err := p.driver(name)
	if err != nil {
		return nil, nil, err
	}
	conn, err := plugins.Dial(d.Endpoint)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to CSI driver %s: %w", name, err)
	}
	s := &session{NodeClient: csipb.NewNodeClient(conn), conn: conn, can: map[csipb.NodeServiceCapability_RPC_Type]bool{}}
	ctx, s.close = context.WithTimeout(ctx, callTimeout)
	caps, err := s.NodeGetCapabilities(ctx, &csipb.NodeGetCapabilitiesRequest{})
	if err != nil {
		s.end()
		return nil, nil, err
	}
	for _, c := range caps.GetCapabilities() {
		s.can[c.GetRpc().GetType()] = true
	}
	return ctx, s, nil
}

func (s *session) end() {
	s.close()
	s.conn.Close()
}

// isFinal reports whether a call that failed cannot be going on inside the driver.
func isFinal(err error) bool {
	st, ok := status.FromError(err)
	if !ok {
		return false
	}
	switch st.Code() {
	case codes.Canceled, codes.DeadlineExceeded, codes.Unavailable, codes.ResourceExhausted, codes.Aborted:
		return false
	}
	return true
}

// capability says how a volume is going to be used. mount is nil for a block device.
func (s *session) capability(v *Volume, mount *csipb.VolumeCapability_MountVolume) *csipb.VolumeCapability {
	out := &csipb.VolumeCapability{AccessMode: &csipb.VolumeCapability_AccessMode{Mode: s.accessMode(v.accessMode())}}
	if v.Block {
		out.AccessType = &csipb.VolumeCapability_Block{Block: &csipb.VolumeCapability_BlockVolume{}}
	} else {
		out.AccessType = &csipb.VolumeCapability_Mount{Mount: mount}
	}
	return out
}

// accessMode translates. Drivers that can tell one writer from several on a node are told the difference.
func (s *session) accessMode(m corev1.PersistentVolumeAccessMode) csipb.VolumeCapability_AccessMode_Mode {
	precise := s.can[csipb.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER]
	switch m {
	case corev1.ReadWriteOnce:
		if precise {
			return csipb.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER
		}
		return csipb.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
	case corev1.ReadWriteOncePod:
		if precise {
			return csipb.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
		}
		return csipb.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
	case corev1.ReadOnlyMany:
		return csipb.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
	case corev1.ReadWriteMany:
		return csipb.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
	}
	return csipb.VolumeCapability_AccessMode_UNKNOWN
}
