package csi

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// What a volume became when it was published.
type Result struct {
	// OwnGroup: the driver leaves it to the node to give the files to the pod's group.
	OwnGroup bool
	// Republish: the driver wants to be asked again from time to time.
	Republish bool
}

// Publish has the driver give a volume to a pod. With again the pod has it already, and keeps what it has if
// the driver fails.
func (p *Plugin) Publish(ctx context.Context, v *Volume, pod *corev1.Pod, again bool) (Result, error) {
	ctx, s, err := p.open(ctx, v.Driver)
	if err != nil {
		return Result{}, errorf("mounter.SetUpAt failed to get CSI client: %w", err)
	}
	defer s.end()
	obj, err := p.driverObject(ctx, v.Driver)
	if err != nil {
		return Result{}, err
	}
	if err := supports(obj, v); err != nil {
		return Result{}, errorf("mounter.SetupAt failed to check volume lifecycle mode: %w", err)
	}
	req, err := p.publishRequest(ctx, s, obj, v, pod)
	if err != nil {
		return Result{}, err
	}
	path := p.Path(v, pod.UID)
	if err := p.announce(v, pod, path); err != nil {
		return Result{}, err
	}
	if _, err := s.NodePublishVolume(ctx, req); err != nil {
		if isFinal(err) && !again {
			_ = p.forgetPublished(Published{Volume: *v, Pod: pod.UID}) // found again later if something stands in the way
		}
		return Result{}, err
	}
	if v.Block {
		if err := checkDevice(path); err != nil {
			return Result{}, err
		}
	}
	return Result{
		OwnGroup:  !v.Block && !s.can[csipb.NodeServiceCapability_RPC_VOLUME_MOUNT_GROUP] && wantsGroup(obj, v, pod),
		Republish: obj != nil && obj.Spec.RequiresRepublish != nil && *obj.Spec.RequiresRepublish,
	}, nil
}

// announce writes down what the driver is going to be asked for.
func (p *Plugin) announce(v *Volume, pod *corev1.Pod, path string) error {
	if !v.Block {
		return save(filepath.Dir(path), p.data(v))
	}
	link := p.deviceLink(v.Name, pod.UID)
	for _, dir := range []string{filepath.Dir(path), filepath.Dir(link)} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return errorf("blockMapper.publishVolumeForBlock failed to create dir %s: %w", dir, err)
		}
	}
	if err := os.Symlink(path, link); err != nil && !os.IsExist(err) {
		return err
	}
	return nil
}

// checkDevice makes sure that the driver has published what a container can be given.
func checkDevice(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("the driver has published no device: %w", err)
	}
	if info.Mode()&os.ModeDevice == 0 || info.Mode()&os.ModeCharDevice != 0 {
		return fmt.Errorf("the driver has published %s, which is not a block device", path)
	}
	return nil
}

func (p *Plugin) publishRequest(ctx context.Context, s *session, obj *storagev1.CSIDriver, v *Volume, pod *corev1.Pod) (*csipb.NodePublishVolumeRequest, error) {
	req := &csipb.NodePublishVolumeRequest{
		VolumeId: v.Handle, TargetPath: p.cfg.Dir.Told(p.Path(v, pod.UID)), Readonly: v.ReadOnly,
		VolumeContext: maps.Clone(v.attributes()), VolumeCapability: s.capability(v, s.mount(v, pod)),
	}
	var err error
	if v.PV != nil {
		if s.can[csipb.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME] {
			req.StagingTargetPath = p.cfg.Dir.Told(p.stageDir(v))
		}
		if req.PublishContext, err = p.publishContext(ctx, v); err != nil {
			return nil, errorf("mounter.SetUpAt failed to fetch publishContext: %w", err)
		}
	}
	ref := v.publishSecret(pod)
	if req.Secrets, err = p.secret(ctx, ref); err != nil {
		return nil, fmt.Errorf("fetching NodePublishSecretRef %s/%s failed: %w", ref.Namespace, ref.Name, err)
	}
	if req.VolumeContext == nil {
		req.VolumeContext = map[string]string{}
	}
	if obj == nil {
		return req, nil
	}
	if obj.Spec.PodInfoOnMount != nil && *obj.Spec.PodInfoOnMount {
		maps.Copy(req.VolumeContext, podInfo(pod, v))
	}
	return req, p.addTokens(ctx, req, obj, pod)
}

// addTokens adds the tokens that a driver asks for, where it wants to find them.
func (p *Plugin) addTokens(ctx context.Context, req *csipb.NodePublishVolumeRequest, obj *storagev1.CSIDriver, pod *corev1.Pod) error {
	if len(obj.Spec.TokenRequests) == 0 {
		return nil
	}
	tokens, err := p.cfg.Tokens(ctx, pod, obj.Spec.TokenRequests)
	if err != nil {
		return errorf("mounter.SetUpAt failed to get service accoount token attributes: %w", err) // upstream's spelling
	}
	const key = "csi.storage.k8s.io/serviceAccount.tokens"
	if in := obj.Spec.ServiceAccountTokenInSecrets; in != nil && *in {
		req.Secrets[key] = tokens
	} else {
		req.VolumeContext[key] = tokens
	}
	return nil
}

func podInfo(pod *corev1.Pod, v *Volume) map[string]string {
	return map[string]string{
		"csi.storage.k8s.io/pod.name":            pod.Name,
		"csi.storage.k8s.io/pod.namespace":       pod.Namespace,
		"csi.storage.k8s.io/pod.uid":             string(pod.UID),
		"csi.storage.k8s.io/serviceAccount.name": pod.Spec.ServiceAccountName,
		"csi.storage.k8s.io/ephemeral":           strconv.FormatBool(v.PV == nil),
	}
}

// supports tells whether the driver provides volumes of v's kind. One that says nothing of itself provides
// persistent ones.
func supports(obj *storagev1.CSIDriver, v *Volume) error {
	mode := v.lifecycle()
	switch {
	case obj == nil && v.PV != nil:
		return nil
	case obj == nil:
		return fmt.Errorf("volume mode %q not supported by driver %s (no CSIDriver object)", mode, v.Driver)
	case slices.Contains(obj.Spec.VolumeLifecycleModes, mode):
		return nil
	}
	return fmt.Errorf("volume mode %q not supported by driver %s (only supports %q)", mode, v.Driver, obj.Spec.VolumeLifecycleModes)
}

// wantsGroup reports whether a volume's files become the pod's group's.
func wantsGroup(obj *storagev1.CSIDriver, v *Volume, pod *corev1.Pod) bool {
	policy := storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy
	if obj != nil && obj.Spec.FSGroupPolicy != nil {
		policy = *obj.Spec.FSGroupPolicy
	}
	switch {
	case fsGroup(pod) == nil || v.ReadOnly || policy == storagev1.NoneFSGroupPolicy:
		return false
	case policy == storagev1.FileFSGroupPolicy:
		return true
	case v.fsType() == "":
		return false
	case v.PV == nil:
		return true
	}
	modes := v.PV.Spec.AccessModes
	return slices.Contains(modes, corev1.ReadWriteOnce) || slices.Contains(modes, corev1.ReadWriteOncePod)
}
