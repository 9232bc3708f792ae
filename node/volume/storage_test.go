package volume

import (
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestLocalDirs(t *testing.T) {
	m := New(Config{PodsDir: "/pods", MemoryDir: "/memory"})
	pod := &corev1.Pod{}
	pod.UID = "u"
	pod.Spec.Volumes = []corev1.Volume{
		{Name: "disk", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: "memory", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}},
		{Name: "settings", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}}},
		{Name: "secret", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{}}},
		{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}},
	}
	want := map[string]string{"disk": "/pods/u/volumes/kubernetes.io~empty-dir/disk", "settings": "/pods/u/volumes/kubernetes.io~configmap/settings"}
	if got := m.LocalDirs(pod); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
