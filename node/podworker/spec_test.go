package podworker

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestWhatContainersMayOnlyRead(t *testing.T) {
	yes := true
	for name, tc := range map[string]struct {
		source corev1.VolumeSource
		want   bool
	}{
		"emptyDir":       {corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, false},
		"configMap":      {corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}}, true},
		"secret":         {corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{}}, true},
		"projected":      {corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{}}, true},
		"downwardAPI":    {corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{}}, true},
		"claim":          {corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{}}, false},
		"claim, marked":  {corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ReadOnly: true}}, true},
		"driver":         {corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{}}, false},
		"driver, marked": {corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{ReadOnly: &yes}}, true},
	} {
		if got := isReadOnly(&corev1.Volume{VolumeSource: tc.source}); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
