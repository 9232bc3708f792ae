package csi

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"

	"clipper/api/attachment"
)

// Stage has the driver make a volume ready on this node, if the driver does such a thing; again without harm.
// The volume has been attached by then.
func (p *Plugin) Stage(ctx context.Context, v *Volume, pod *corev1.Pod) error {
	ctx, s, err := p.open(ctx, v.Driver)
	if err != nil {
		return errorf("attacher.MountDevice failed to create newCsiDriverClient: %w", err)
	}
	defer s.end()
	published, err := p.publishContext(ctx, v)
	if err != nil {
		return err
	}
	if v.Block { // what unpublishing needs to know, whether the driver stages or not
		if err := save(p.stageData(v), p.data(v)); err != nil {
			return err
		}
	}
	if !s.can[csipb.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME] {
		return nil
	}
	ref := v.stageSecret()
	secrets, err := p.secret(ctx, ref)
	if err != nil {
		return fmt.Errorf("fetching NodeStageSecretRef %s/%s failed: %w", ref.Namespace, ref.Name, err)
	}
	dir := p.stageDir(v)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return errorf("attacher.MountDevice failed to create dir %q: %w", dir, err)
	}
	if err := save(p.stageData(v), p.data(v)); err != nil {
		return err
	}
	_, err = s.NodeStageVolume(ctx, &csipb.NodeStageVolumeRequest{
		VolumeId: v.Handle, PublishContext: published, StagingTargetPath: p.cfg.Dir.Told(dir), Secrets: secrets,
		VolumeContext: v.attributes(), VolumeCapability: s.capability(v, s.mount(v, pod)),
	})
	if err != nil && isFinal(err) {
		_ = p.forgetStage(v) // nothing was mounted; what stands in the way is found again later
	}
	return err
}

func (p *Plugin) data(v *Volume) data {
	d := data{Name: v.Name, Handle: v.Handle, Driver: v.Driver, Node: p.cfg.NodeName, Lifecycle: string(v.lifecycle())}
	d.Attachment = attachment.Name(v.Driver, v.Handle, p.cfg.NodeName)
	return d
}

// mount returns the options of a file system. Drivers that can give it to the pod's group themselves do.
func (s *session) mount(v *Volume, pod *corev1.Pod) *csipb.VolumeCapability_MountVolume {
	m := &csipb.VolumeCapability_MountVolume{FsType: v.fsType(), MountFlags: v.mountOptions()}
	if g := fsGroup(pod); g != nil && s.can[csipb.NodeServiceCapability_RPC_VOLUME_MOUNT_GROUP] {
		m.VolumeMountGroup = strconv.FormatInt(*g, 10)
	}
	return m
}

func fsGroup(pod *corev1.Pod) *int64 {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	return pod.Spec.SecurityContext.FSGroup
}

// Staged returns the volumes that are, or may be, staged on this node. Of those with a file system the names
// are missing.
func (p *Plugin) Staged() ([]*Volume, error) {
	var out []*Volume
	for pattern, block := range map[string]bool{
		p.cfg.Dir.Join("plugins", pluginName, "*", "*", dataFile): false,
		p.cfg.Dir.Join(deviceDirs, "*", "data", dataFile):         true,
	} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			d, err := load(filepath.Dir(f))
			if err != nil {
				return out, err
			}
			out = append(out, &Volume{Name: d.Name, Driver: d.Driver, Handle: d.Handle, Block: block})
		}
	}
	return out, nil
}

// Unstage has the driver undo Stage, also after a crash in the middle of it. No pod uses the volume any more.
func (p *Plugin) Unstage(ctx context.Context, v *Volume) error {
	if _, err := os.Stat(p.stageDir(v)); os.IsNotExist(err) {
		return p.forgetStage(v)
	}
	ctx, s, err := p.open(ctx, v.Driver)
	if err != nil {
		return errorf("attacher.UnmountDevice failed to create newCsiDriverClient: %w", err)
	}
	defer s.end()
	if s.can[csipb.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME] {
		_, err := s.NodeUnstageVolume(ctx, &csipb.NodeUnstageVolumeRequest{VolumeId: v.Handle, StagingTargetPath: p.cfg.Dir.Told(p.stageDir(v))})
		if err != nil {
			return errorf("attacher.UnmountDevice failed: %w", err)
		}
	}
	return p.forgetStage(v)
}

// forgetStage removes the directories of a volume that is not staged. They are empty but for its data.
func (p *Plugin) forgetStage(v *Volume) error {
	if !v.Block {
		return removeMount(p.stageDir(v))
	}
	if err := os.RemoveAll(p.stageDir(v)); err != nil {
		return errorf("failed to delete volume staging path: %w", err)
	}
	dir := p.stageData(v)
	return remove(filepath.Dir(p.Path(v, "x")), filepath.Join(dir, "."+dataFile), filepath.Join(dir, dataFile), dir, filepath.Dir(dir))
}
