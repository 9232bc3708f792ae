// Package content makes volumes of what the API says: config maps, secrets, what a pod may know of itself, tokens, and
// several of these projected into one. Readers see all of a volume's old content or all of the new.
package content

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"

	"clipper/api"
	"clipper/api/containers"
	"clipper/node/downward"
	"clipper/node/volume/fsgroup"
	"clipper/node/volume/token"
)

// A Source is where content comes from. All fields are required.
type Source struct {
	Client api.Client
	Tokens *token.Cache
	// Allocatable is what downward-API limits default to.
	Allocatable func() corev1.ResourceList
}

// Of reports whether a volume's content is written from API objects.
func Of(v *corev1.Volume) bool {
	return v.ConfigMap != nil || v.Secret != nil || v.Projected != nil || v.DownwardAPI != nil
}

// TellsOfPod reports whether a volume of the pod tells of the pod itself, and changes with it.
func TellsOfPod(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
		return v.DownwardAPI != nil || v.Projected != nil &&
			slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool { return s.DownwardAPI != nil })
	})
}

// Write writes a volume's files into dir from their sources, if they differ from what is there.
func (s *Source) Write(ctx context.Context, pod *corev1.Pod, v *corev1.Volume, dir string) error {
	files, err := s.files(ctx, pod, v)
	if err != nil {
		return err
	}
	for name := range files {
		if err := checkPath(name); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o777); err != nil { // as upstream: the container's view is read-only anyway
		return err
	}
	gid := fsgroup.Of(pod)
	if err := writeAtomic(ctx, dir, files, gid); err != nil {
		return err
	}
	if gid != nil {
		if err := os.Lchown(dir, -1, int(*gid)); err != nil {
			return err
		}
		return os.Chmod(dir, 0o777|fs.ModeSetgid)
	}
	return nil
}

// files collects the files a volume should have.
func (s *Source) files(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (map[string]file, error) {
	switch {
	case v.ConfigMap != nil:
		return s.configMap(ctx, pod.Namespace, v.ConfigMap.Name, v.ConfigMap.Items, v.ConfigMap.DefaultMode, v.ConfigMap.Optional)
	case v.Secret != nil:
		return s.secret(ctx, pod.Namespace, v.Secret.SecretName, v.Secret.Items, v.Secret.DefaultMode, v.Secret.Optional)
	case v.DownwardAPI != nil:
		return s.downward(pod, v.DownwardAPI.Items, v.DownwardAPI.DefaultMode)
	}
	out := map[string]file{}
	for i := range v.Projected.Sources {
		part, err := s.projected(ctx, pod, &v.Projected.Sources[i], v.Projected.DefaultMode)
		if err != nil {
			return nil, err
		}
		maps.Copy(out, part)
	}
	return out, nil
}

func (s *Source) projected(ctx context.Context, pod *corev1.Pod, p *corev1.VolumeProjection, mode *int32) (map[string]file, error) {
	switch {
	case p.ConfigMap != nil:
		return s.configMap(ctx, pod.Namespace, p.ConfigMap.Name, p.ConfigMap.Items, mode, p.ConfigMap.Optional)
	case p.Secret != nil:
		return s.secret(ctx, pod.Namespace, p.Secret.Name, p.Secret.Items, mode, p.Secret.Optional)
	case p.DownwardAPI != nil:
		return s.downward(pod, p.DownwardAPI.Items, mode)
	case p.ServiceAccountToken != nil:
		return s.tokenFile(ctx, pod, p.ServiceAccountToken, mode)
	case p.ClusterTrustBundle != nil && ptr.Deref(p.ClusterTrustBundle.Optional, false):
		return map[string]file{p.ClusterTrustBundle.Path: {mode: fileMode(nil, mode)}}, nil
	case p.ClusterTrustBundle != nil:
		return nil, fmt.Errorf("ClusterTrustBundle projections are not supported by this node")
	}
	return nil, fmt.Errorf("a projected source of an unknown kind")
}

func fileMode(own, volume *int32) fs.FileMode {
	mode := fs.FileMode(0o644)
	if volume != nil {
		mode = fs.FileMode(*volume).Perm()
	}
	if own != nil {
		mode = fs.FileMode(*own).Perm()
	}
	return mode
}

func (s *Source) configMap(ctx context.Context, ns, name string, items []corev1.KeyToPath, mode *int32, optional *bool) (map[string]file, error) {
	cm, err := api.ConfigMaps.Get(ctx, s.Client, ns, name)
	if apierrors.IsNotFound(err) {
		if ptr.Deref(optional, false) {
			return map[string]file{}, nil
		}
		return nil, fmt.Errorf("configmap %q not found", name)
	}
	if err != nil {
		return nil, err
	}
	data := make(map[string][]byte, len(cm.Data)+len(cm.BinaryData))
	for k, v := range cm.Data {
		data[k] = []byte(v)
	}
	maps.Copy(data, cm.BinaryData)
	return selectKeys(data, items, mode, ptr.Deref(optional, false), "configmap references non-existent config key: %s")
}

func (s *Source) secret(ctx context.Context, ns, name string, items []corev1.KeyToPath, mode *int32, optional *bool) (map[string]file, error) {
	secret, err := api.Secrets.Get(ctx, s.Client, ns, name)
	if apierrors.IsNotFound(err) {
		if ptr.Deref(optional, false) {
			return map[string]file{}, nil
		}
		return nil, fmt.Errorf("secret %q not found", name)
	}
	if err != nil {
		return nil, err
	}
	return selectKeys(secret.Data, items, mode, ptr.Deref(optional, false), "references non-existent secret key: %s")
}

// selectKeys picks the items asked for, or everything.
func selectKeys(data map[string][]byte, items []corev1.KeyToPath, mode *int32, optional bool, missing string) (map[string]file, error) {
	out := make(map[string]file, len(data))
	if len(items) == 0 {
		for k, v := range data {
			out[k] = file{data: v, mode: fileMode(nil, mode)}
		}
		return out, nil
	}
	for _, it := range items {
		v, ok := data[it.Key]
		if !ok {
			if optional {
				continue
			}
			return nil, fmt.Errorf(missing, it.Key)
		}
		out[it.Path] = file{data: v, mode: fileMode(it.Mode, mode)}
	}
	return out, nil
}

func (s *Source) downward(pod *corev1.Pod, items []corev1.DownwardAPIVolumeFile, mode *int32) (map[string]file, error) {
	out := make(map[string]file, len(items))
	for _, it := range items {
		text, err := "", error(nil)
		switch {
		case it.FieldRef != nil:
			text, err = downward.Field(pod, it.FieldRef.FieldPath)
		case it.ResourceFieldRef != nil:
			text, err = s.resource(pod, it.ResourceFieldRef)
		}
		if err != nil {
			return nil, err
		}
		out[it.Path] = file{data: []byte(text), mode: fileMode(it.Mode, mode)}
	}
	return out, nil
}

func (s *Source) resource(pod *corev1.Pod, ref *corev1.ResourceFieldSelector) (string, error) {
	for c := range containers.Of(&pod.Spec) {
		if c.Name == ref.ContainerName {
			return downward.Resource(ref, pod, c, s.Allocatable())
		}
	}
	return "", fmt.Errorf("container %s not found", ref.ContainerName)
}
