package csi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Published is a volume that a pod has, or may have, been given. Of the volume only names are known.
type Published struct {
	Volume
	Pod       types.UID
	Ephemeral bool
}

// Published returns the volumes that a pod has.
func (p *Plugin) Published(pod types.UID) ([]Published, error) {
	mounts, err := p.publishedMounts(pod)
	if err != nil {
		return nil, err
	}
	links, err := os.ReadDir(filepath.Dir(p.deviceLink("x", pod)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, l := range links {
		v := Volume{Name: l.Name(), Block: true}
		d, err := load(p.stageData(&v))
		if err != nil {
			return nil, fmt.Errorf("pod %s, block volume %s: %w", pod, v.Name, err)
		}
		v.Driver, v.Handle = d.Driver, d.Handle
		mounts = append(mounts, Published{Volume: v, Pod: pod})
	}
	return mounts, nil
}

func (p *Plugin) publishedMounts(pod types.UID) ([]Published, error) {
	root := p.cfg.Dir.Join("pods", string(pod), "volumes", podPlugin)
	dirs, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out []Published
	for _, e := range dirs {
		dir := filepath.Join(root, e.Name())
		d, err := load(dir)
		if errors.Is(err, fs.ErrNotExist) { // killed before the driver was asked, or after it was done
			if err := removeMount(filepath.Join(dir, "mount")); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			if removeMount(filepath.Join(dir, "mount")) == nil { // nothing is mounted: nothing is lost
				continue
			}
			return nil, fmt.Errorf("pod %s, volume %s: %w; take down what is mounted there by hand", pod, e.Name(), err)
		}
		out = append(out, Published{Pod: pod, Volume: Volume{Name: d.Name, Driver: d.Driver, Handle: d.Handle},
			Ephemeral: d.Lifecycle == string(storagev1.VolumeLifecycleEphemeral)})
	}
	return out, nil
}

// Unpublish has the driver take a volume from a pod, also after a crash in the middle of Publish.
func (p *Plugin) Unpublish(ctx context.Context, v Published) error {
	ctx, s, err := p.open(ctx, v.Driver)
	if err != nil {
		return errorf("Unmounter.TearDownAt failed to get CSI client: %w", err)
	}
	defer s.end()
	_, err = s.NodeUnpublishVolume(ctx, &csipb.NodeUnpublishVolumeRequest{VolumeId: v.Handle, TargetPath: p.cfg.Dir.Told(p.Path(&v.Volume, v.Pod))})
	if err != nil {
		return errorf("Unmounter.TearDownAt failed: %w", err)
	}
	return p.forgetPublished(v)
}

// forgetPublished removes what tells of a volume that a pod does not have. Drivers should remove the target
// itself, and not all do.
func (p *Plugin) forgetPublished(v Published) error {
	path := p.Path(&v.Volume, v.Pod)
	if !v.Block {
		return removeMount(path)
	}
	return remove(path, p.deviceLink(v.Name, v.Pod))
}
