package hostpath

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clipper/node/machine"
)

// NodeGetCapabilities implements the node service.
func (d *Driver) NodeGetCapabilities(context.Context, *csipb.NodeGetCapabilitiesRequest) (*csipb.NodeGetCapabilitiesResponse, error) {
	types := []csipb.NodeServiceCapability_RPC_Type{
		csipb.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME, csipb.NodeServiceCapability_RPC_EXPAND_VOLUME,
		csipb.NodeServiceCapability_RPC_GET_VOLUME_STATS, csipb.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	}
	if d.MountGroup {
		types = append(types, csipb.NodeServiceCapability_RPC_VOLUME_MOUNT_GROUP)
	}
	r := &csipb.NodeGetCapabilitiesResponse{}
	for _, t := range types {
		r.Capabilities = append(r.Capabilities, &csipb.NodeServiceCapability{Type: &csipb.NodeServiceCapability_Rpc{Rpc: &csipb.NodeServiceCapability_RPC{Type: t}}})
	}
	return r, nil
}

// NodeGetInfo implements the node service.
func (d *Driver) NodeGetInfo(context.Context, *csipb.NodeGetInfoRequest) (*csipb.NodeGetInfoResponse, error) {
	return &csipb.NodeGetInfoResponse{NodeId: d.NodeID, MaxVolumesPerNode: 100,
		AccessibleTopology: &csipb.Topology{Segments: map[string]string{TopologyKey: d.NodeID}}}, nil
}

func internal(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, os.ErrNotExist) {
		return status.Error(codes.NotFound, err.Error())
	}
	return status.Error(codes.Internal, err.Error())
}

// NodeStageVolume implements the node service: the volume appears at the staging path.
func (d *Driver) NodeStageVolume(_ context.Context, r *csipb.NodeStageVolumeRequest) (*csipb.NodeStageVolumeResponse, error) {
	if _, err := GetMeta(d.Data, r.VolumeId); err != nil {
		return nil, internal(err)
	}
	if r.VolumeCapability.GetBlock() != nil {
		_, err := attachLoop(d.path(r.VolumeId, "image"))
		return &csipb.NodeStageVolumeResponse{}, internal(err)
	}
	return &csipb.NodeStageVolumeResponse{}, internal(bind(d.path(r.VolumeId, "data"), d.host(r.StagingTargetPath), false))
}

// NodeUnstageVolume implements the node service.
func (d *Driver) NodeUnstageVolume(_ context.Context, r *csipb.NodeUnstageVolumeRequest) (*csipb.NodeUnstageVolumeResponse, error) {
	if err := unmount(d.host(r.StagingTargetPath)); err != nil {
		return nil, internal(err)
	}
	return &csipb.NodeUnstageVolumeResponse{}, internal(detachLoop(d.path(r.VolumeId, "image")))
}

// NodePublishVolume implements the node service: the volume appears at the target path. An ephemeral one is made.
func (d *Driver) NodePublishVolume(_ context.Context, r *csipb.NodePublishVolumeRequest) (*csipb.NodePublishVolumeResponse, error) {
	from, target := d.host(r.StagingTargetPath), d.host(r.TargetPath)
	switch {
	case r.VolumeContext["csi.storage.k8s.io/ephemeral"] == "true":
		if err := Create(d.Data, r.VolumeId, Meta{Ephemeral: true}); err != nil {
			return nil, internal(err)
		}
		from = d.path(r.VolumeId, "data")
	case r.VolumeCapability.GetBlock() != nil:
		device, err := attachLoop(d.path(r.VolumeId, "image"))
		if err != nil {
			return nil, internal(err)
		}
		return &csipb.NodePublishVolumeResponse{}, internal(bindFile(device, target))
	}
	if err := os.MkdirAll(target, 0o750); err != nil {
		return nil, internal(err)
	}
	return &csipb.NodePublishVolumeResponse{}, internal(bind(from, target, r.Readonly))
}

// NodeUnpublishVolume implements the node service.
func (d *Driver) NodeUnpublishVolume(_ context.Context, r *csipb.NodeUnpublishVolumeRequest) (*csipb.NodeUnpublishVolumeResponse, error) {
	target := d.host(r.TargetPath)
	if err := unmount(target); err != nil {
		return nil, internal(err)
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, internal(err)
	}
	if m, err := GetMeta(d.Data, r.VolumeId); err == nil && m.Ephemeral {
		return &csipb.NodeUnpublishVolumeResponse{}, internal(Delete(d.Data, r.VolumeId))
	}
	return &csipb.NodeUnpublishVolumeResponse{}, nil
}

// NodeExpandVolume implements the node service.
func (d *Driver) NodeExpandVolume(_ context.Context, r *csipb.NodeExpandVolumeRequest) (*csipb.NodeExpandVolumeResponse, error) {
	m, err := GetMeta(d.Data, r.VolumeId)
	if err != nil {
		return nil, internal(err)
	}
	m.NodeSize = r.CapacityRange.GetRequiredBytes()
	if m.Block {
		if err := growLoop(d.path(r.VolumeId, "image"), m.NodeSize); err != nil {
			return nil, internal(err)
		}
	}
	return &csipb.NodeExpandVolumeResponse{CapacityBytes: m.NodeSize}, internal(SetMeta(d.Data, r.VolumeId, m))
}

// NodeGetVolumeStats implements the node service.
func (d *Driver) NodeGetVolumeStats(_ context.Context, r *csipb.NodeGetVolumeStatsRequest) (*csipb.NodeGetVolumeStatsResponse, error) {
	m, err := GetMeta(d.Data, r.VolumeId)
	if err != nil {
		return nil, internal(err)
	}
	if m.Block {
		return &csipb.NodeGetVolumeStatsResponse{Usage: []*csipb.VolumeUsage{{Unit: csipb.VolumeUsage_BYTES, Total: max(m.Size, m.NodeSize)}}}, nil
	}
	fs, err := machine.FileSystemOf(d.host(r.VolumePath))
	if err != nil {
		return nil, internal(err)
	}
	return &csipb.NodeGetVolumeStatsResponse{Usage: []*csipb.VolumeUsage{
		{Unit: csipb.VolumeUsage_BYTES, Total: fs.Bytes, Available: fs.BytesFree, Used: fs.BytesUsed},
		{Unit: csipb.VolumeUsage_INODES, Total: fs.Inodes, Available: fs.InodesFree, Used: fs.InodesUsed},
	}}, nil
}

func (d *Driver) host(path string) string {
	if d.Host == nil {
		return path
	}
	return d.Host(path)
}

func (d *Driver) path(id, name string) string { return filepath.Join(d.Data, "volumes", id, name) }
