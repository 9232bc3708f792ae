package csi

import (
	"context"
	"errors"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"k8s.io/apimachinery/pkg/types"

	"clipper/node/machine"
)

// Stats has the driver measure a volume that a pod has been given. What it does not tell is zero.
func (p *Plugin) Stats(ctx context.Context, v *Volume, pod types.UID) (machine.FileSystem, error) {
	ctx, s, err := p.open(ctx, v.Driver)
	if err != nil {
		return machine.FileSystem{}, err
	}
	defer s.end()
	if !s.can[csipb.NodeServiceCapability_RPC_GET_VOLUME_STATS] {
		return machine.FileSystem{}, errors.New("the driver does not measure volumes")
	}
	r, err := s.NodeGetVolumeStats(ctx, &csipb.NodeGetVolumeStatsRequest{VolumeId: v.Handle, VolumePath: p.cfg.Dir.Told(p.Path(v, pod))})
	if err != nil {
		return machine.FileSystem{}, err
	}
	if r.GetUsage() == nil {
		return machine.FileSystem{}, errors.New("failed to get usage from response. usage is nil")
	}
	var out machine.FileSystem
	for _, u := range r.GetUsage() {
		switch u.GetUnit() {
		case csipb.VolumeUsage_BYTES:
			out.Bytes, out.BytesUsed, out.BytesFree = u.GetTotal(), u.GetUsed(), u.GetAvailable()
		case csipb.VolumeUsage_INODES:
			out.Inodes, out.InodesUsed, out.InodesFree = u.GetTotal(), u.GetUsed(), u.GetAvailable()
		}
	}
	return out, nil
}
