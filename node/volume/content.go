package volume

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"clipper/api"
	"clipper/node/downward"
)

// writeContent writes a volume's files from their sources, if they differ from what is there.
func (m *Manager) writeContent(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) error {
	files, err := m.content(ctx, pod, v)
	if err != nil {
		return err
	}
	for name := range files {
		if err := checkPath(name); err != nil {
			return err
		}
	}
	dir := m.dir(pod.UID, v)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o777); err != nil { // as upstream: the container's view is read-only anyway
		return err
	}
	if err := writeAtomic(dir, files, fsGroup(pod)); err != nil {
		return err
	}
	if g := fsGroup(pod); g != nil {
		if err := os.Lchown(dir, -1, int(*g)); err != nil {
			return err
		}
		return os.Chmod(dir, 0o777|fs.ModeSetgid)
	}
	return nil
}

// content collects the files a volume should have.
func (m *Manager) content(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (map[string]file, error) {
	switch {
	case v.ConfigMap != nil:
		return m.configMap(ctx, pod.Namespace, v.ConfigMap.Name, v.ConfigMap.Items, v.ConfigMap.DefaultMode, v.ConfigMap.Optional)
	case v.Secret != nil:
		return m.secret(ctx, pod.Namespace, v.Secret.SecretName, v.Secret.Items, v.Secret.DefaultMode, v.Secret.Optional)
	case v.DownwardAPI != nil:
		return m.downward(pod, v.DownwardAPI.Items, v.DownwardAPI.DefaultMode)
	}
	out := map[string]file{}
	for i := range v.Projected.Sources {
		part, err := m.projected(ctx, pod, &v.Projected.Sources[i], v.Projected.DefaultMode)
		if err != nil {
			return nil, err
		}
		maps.Copy(out, part)
	}
	return out, nil
}

func (m *Manager) projected(ctx context.Context, pod *corev1.Pod, s *corev1.VolumeProjection, mode *int32) (map[string]file, error) {
	switch {
	case s.ConfigMap != nil:
		return m.configMap(ctx, pod.Namespace, s.ConfigMap.Name, s.ConfigMap.Items, mode, s.ConfigMap.Optional)
	case s.Secret != nil:
		return m.secret(ctx, pod.Namespace, s.Secret.Name, s.Secret.Items, mode, s.Secret.Optional)
	case s.DownwardAPI != nil:
		return m.downward(pod, s.DownwardAPI.Items, mode)
	case s.ServiceAccountToken != nil:
		return m.tokenFile(ctx, pod, s.ServiceAccountToken, mode)
	case s.ClusterTrustBundle != nil && isTrue(s.ClusterTrustBundle.Optional):
		return map[string]file{s.ClusterTrustBundle.Path: {mode: fileMode(nil, mode)}}, nil
	case s.ClusterTrustBundle != nil:
		return nil, fmt.Errorf("ClusterTrustBundle projections are not supported by this node")
	}
	return nil, fmt.Errorf("a projected source of an unknown kind")
}

func isTrue(b *bool) bool { return b != nil && *b }

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

func (m *Manager) configMap(ctx context.Context, ns, name string, items []corev1.KeyToPath, mode *int32, optional *bool) (map[string]file, error) {
	cm, err := api.ConfigMaps.Get(ctx, m.cfg.Client, ns, name)
	if apierrors.IsNotFound(err) {
		if isTrue(optional) {
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
	return selectKeys(data, items, mode, isTrue(optional), "configmap references non-existent config key: %s")
}

func (m *Manager) secret(ctx context.Context, ns, name string, items []corev1.KeyToPath, mode *int32, optional *bool) (map[string]file, error) {
	s, err := api.Secrets.Get(ctx, m.cfg.Client, ns, name)
	if apierrors.IsNotFound(err) {
		if isTrue(optional) {
			return map[string]file{}, nil
		}
		return nil, fmt.Errorf("secret %q not found", name)
	}
	if err != nil {
		return nil, err
	}
	return selectKeys(s.Data, items, mode, isTrue(optional), "references non-existent secret key: %s")
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

func (m *Manager) downward(pod *corev1.Pod, items []corev1.DownwardAPIVolumeFile, mode *int32) (map[string]file, error) {
	out := make(map[string]file, len(items))
	for _, it := range items {
		text, err := "", error(nil)
		switch {
		case it.FieldRef != nil:
			text, err = downward.Field(pod, it.FieldRef.FieldPath)
		case it.ResourceFieldRef != nil:
			text, err = m.resource(pod, it.ResourceFieldRef)
		}
		if err != nil {
			return nil, err
		}
		out[it.Path] = file{data: []byte(text), mode: fileMode(it.Mode, mode)}
	}
	return out, nil
}

func (m *Manager) resource(pod *corev1.Pod, ref *corev1.ResourceFieldSelector) (string, error) {
	for _, cs := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range cs {
			if cs[i].Name == ref.ContainerName {
				return downward.Resource(ref, pod, &cs[i], m.cfg.Allocatable())
			}
		}
	}
	return "", fmt.Errorf("container %s not found", ref.ContainerName)
}
