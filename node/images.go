package node

import (
	"context"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/image"
	"clipper/node/credential"
	"clipper/node/pull"
	"clipper/node/runtime"
	"clipper/node/volume"
)

// openPuller makes what makes sure of pods' images.
func (a *Agent) openPuller() error {
	o := &a.opts
	logins, err := credential.Open(credential.Config{
		Dirs: []string{o.DataDir, o.RootDir.Join()}, Accounts: accounts{o.Client},
		ProviderConfig: o.ImageCredentialProviderConfig, ProviderDir: o.ImageCredentialProviderBinDir,
	})
	if err != nil {
		return fmt.Errorf("registries' logins: %w", err)
	}
	a.puller, err = pull.New(pull.Config{
		Images: o.Images, Settings: o.Config, Dir: o.RootDir.Join("image_manager"),
		Secret: objects{o.Client}.Secret, Logins: logins.Logins,
	})
	if err != nil {
		return err
	}
	a.collectors = slices.Concat(a.collectors, logins.Collectors(), a.puller.Collectors())
	return nil
}

// ensureVolumeImage makes sure of the image of an image volume. Events are the pod's.
func (a *Agent) ensureVolumeImage(ctx context.Context, pod *corev1.Pod, image string, policy corev1.PullPolicy) error {
	ref := corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion}
	tell := func(eventType, reason, format string, args ...any) {
		a.recorder.EventAt(ref, eventType, reason, format, args...)
	}
	f := a.puller.Ensure(ctx, pull.Request{Pod: pod, Image: image, Policy: policy, Tell: tell, TellPod: tell})
	if f == nil {
		return nil
	}
	return fmt.Errorf("%s: %s", f.Reason, f.Message)
}

// accounts reads service accounts for credential provider plug-ins.
type accounts struct{ client api.Client }

func (a accounts) ServiceAccount(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	return api.ServiceAccounts.Get(ctx, a.client, namespace, name)
}

func (a accounts) Token(ctx context.Context, sa *corev1.ServiceAccount, pod *corev1.Pod, audience string) (string, error) {
	req := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		Audiences:      []string{audience},
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	req.Namespace, req.Name, req.UID = sa.Namespace, sa.Name, sa.UID
	obj, err := a.client.CreateSubresource(ctx, api.ServiceAccounts.Resource, sa.Namespace, sa.Name, "token", req)
	if err != nil {
		return "", err
	}
	return obj.(*authenticationv1.TokenRequest).Status.Token, nil
}

// snapshotter is what an image store that can mount images offers beyond the contract of runtimes.
type snapshotter interface {
	runtime.Images
	Prepare(ctx context.Context, id, ref string) (image.Snapshot, *v1.ConfigFile, error)
	RemoveSnapshot(ctx context.Context, id string) error
}

// imageVolumes mounts images as volumes: snapshots that no container belongs to. Writing is prevented by
// mounting them read-only into containers.
type imageVolumes struct{ snapshotter }

func (i imageVolumes) MountImage(ctx context.Context, id, ref string) (string, error) {
	s, _, err := i.Prepare(ctx, id, ref)
	return s.Rootfs, err
}

func (i imageVolumes) UnmountImage(ctx context.Context, id string) error {
	return i.RemoveSnapshot(ctx, id)
}

// imagesForVolumes returns nil if the store cannot mount images.
func imagesForVolumes(images runtime.Images) volume.Images {
	if s, ok := images.(snapshotter); ok {
		return imageVolumes{s}
	}
	return nil
}
