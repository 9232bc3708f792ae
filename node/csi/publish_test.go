package csi

import (
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/utils/ptr"
)

func persistent(fsType string, modes ...corev1.PersistentVolumeAccessMode) *Volume {
	pv := &corev1.PersistentVolume{}
	pv.Spec.CSI, pv.Spec.AccessModes = &corev1.CSIPersistentVolumeSource{Driver: "d", VolumeHandle: "h", FSType: fsType}, modes
	return Persistent(pv, false)
}

func TestWantsGroup(t *testing.T) {
	grouped := &corev1.Pod{Spec: corev1.PodSpec{SecurityContext: &corev1.PodSecurityContext{FSGroup: ptr.To(int64(1))}}}
	driver := func(p storagev1.FSGroupPolicy) *storagev1.CSIDriver {
		return &storagev1.CSIDriver{Spec: storagev1.CSIDriverSpec{FSGroupPolicy: &p}}
	}
	inline := &Volume{Inline: &corev1.CSIVolumeSource{FSType: ptr.To("ext4")}}
	readOnly := persistent("ext4", corev1.ReadWriteOnce)
	readOnly.ReadOnly = true
	for _, tc := range []struct {
		name   string
		driver *storagev1.CSIDriver
		volume *Volume
		pod    *corev1.Pod
		want   bool
	}{
		{"no group", driver(storagev1.FileFSGroupPolicy), persistent("ext4", corev1.ReadWriteOnce), &corev1.Pod{}, false},
		{"never", driver(storagev1.NoneFSGroupPolicy), persistent("ext4", corev1.ReadWriteOnce), grouped, false},
		{"always", driver(storagev1.FileFSGroupPolicy), persistent("", corev1.ReadWriteMany), grouped, true},
		{"read only", driver(storagev1.FileFSGroupPolicy), readOnly, grouped, false},
		{"no object: one writer and a file system", nil, persistent("ext4", corev1.ReadWriteOnce), grouped, true},
		{"no object: one pod", nil, persistent("ext4", corev1.ReadWriteOncePod), grouped, true},
		{"no object: no file system is named", nil, persistent("", corev1.ReadWriteOnce), grouped, false},
		{"no object: many writers", nil, persistent("ext4", corev1.ReadWriteMany), grouped, false},
		{"no object: in the pod", nil, inline, grouped, true},
	} {
		if got := wantsGroup(tc.driver, tc.volume, tc.pod); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

func TestAccessMode(t *testing.T) {
	type mode = csipb.VolumeCapability_AccessMode_Mode
	for _, tc := range []struct {
		mode           corev1.PersistentVolumeAccessMode
		plain, precise mode
	}{
		{corev1.ReadWriteOnce, csipb.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, csipb.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER},
		{corev1.ReadWriteOncePod, csipb.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, csipb.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER},
		{corev1.ReadOnlyMany, csipb.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY, csipb.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY},
		{corev1.ReadWriteMany, csipb.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER, csipb.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER},
	} {
		plain := &session{}
		precise := &session{can: map[csipb.NodeServiceCapability_RPC_Type]bool{csipb.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER: true}}
		if a, b := plain.accessMode(tc.mode), precise.accessMode(tc.mode); a != tc.plain || b != tc.precise {
			t.Errorf("%s: %v, %v", tc.mode, a, b)
		}
	}
}

func TestWhatADriverMayStillBeDoing(t *testing.T) {
	for code, final := range map[codes.Code]bool{codes.Internal: true, codes.InvalidArgument: true, codes.NotFound: true, codes.FailedPrecondition: true,
		codes.DeadlineExceeded: false, codes.Unavailable: false, codes.Aborted: false, codes.Canceled: false, codes.ResourceExhausted: false} {
		if got := isFinal(status.Error(code, "x")); got != final {
			t.Errorf("%v: final %v", code, got)
		}
	}
	for code, want := range map[codes.Code][2]bool{codes.FailedPrecondition: {true, false}, codes.OutOfRange: {false, true}, codes.Internal: {false, false}} {
		if e := expandError(status.Error(code, "x")); e.InUse != want[0] || e.Infeasible != want[1] {
			t.Errorf("%v: %+v", code, e)
		}
	}
}

func TestSupports(t *testing.T) {
	both := &storagev1.CSIDriver{Spec: storagev1.CSIDriverSpec{VolumeLifecycleModes: []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecycleEphemeral}}}
	inline := &Volume{Driver: "d", Inline: &corev1.CSIVolumeSource{}}
	for _, tc := range []struct {
		driver *storagev1.CSIDriver
		volume *Volume
		want   string
	}{
		{nil, persistent(""), ""}, {both, inline, ""},
		{nil, inline, `volume mode "Ephemeral" not supported by driver d (no CSIDriver object)`},
		{both, persistent(""), `volume mode "Persistent" not supported by driver d (only supports ["Ephemeral"])`},
	} {
		got := ""
		if err := supports(tc.driver, tc.volume); err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
}
