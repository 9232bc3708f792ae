package csi

import (
	"context"
	"errors"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"k8s.io/apimachinery/pkg/types"
)

// Stats is how full a volume is. What the driver does not tell is zero.
type Stats struct {
	Capacity, Used, Available      int64 // bytes
	Inodes, InodesUsed, InodesFree int64
}

// ErrNoStats: the driver does not measure volumes.
var ErrNoStats = errors.New("the driver does not measure volumes")

// Stats has the driver measure a volume that a pod has been given.
func (p *Plugin) Stats(ctx context.Context, v *Volume, pod types.UID) (Stats, error) {
	ctx, s, err := p.open(ctx, v.Driver)
	if err != nil {
		return Stats{}, err
	}
	defer s.end()
	if !s.can[csipb.NodeServiceCapability_RPC_GET_VOLUME_STATS] {
		return Stats{}, ErrNoStats
	}
	r, err := s.NodeGetVolumeStats(ctx, &csipb.NodeGetVolumeStatsRequest{VolumeId: v.Handle, VolumePath: p.cfg.Dir.Told(p.Path(v, pod))})
	if err != nil {
		return Stats{}, err
	}
	if r.GetUsage() == nil {
		return Stats{}, errors.New("failed to get usage from response. usage is nil")
	}
	var out Stats
	for _, u := range r.GetUsage() {
		switch u.GetUnit() {
		case csipb.VolumeUsage_BYTES:
			out.Capacity, out.Used, out.Available = u.GetTotal(), u.GetUsed(), u.GetAvailable()
		case csipb.VolumeUsage_INODES:
			out.Inodes, out.InodesUsed, out.InodesFree = u.GetTotal(), u.GetUsed(), u.GetAvailable()
		}
	}
	return out, nil
}
