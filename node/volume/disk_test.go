package volume

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/mountpoint"
	"clipper/node/volume/iscsi"
)

// loopDevice returns a block device with nothing on it.
func loopDevice(t *testing.T) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 16<<20); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "--find", "--show", image).CombinedOutput()
	if err != nil {
		t.Skipf("no loop device: %v: %s", err, out)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("detach %s: %v: %s", device, err, out)
		}
	})
	return device
}

// claimed makes a bound claim and returns what a pod says to use it.
func (b *bench) claimed(name string, source corev1.PersistentVolumeSource, mode corev1.PersistentVolumeMode) corev1.Volume {
	b.t.Helper()
	claim := &corev1.PersistentVolumeClaim{}
	claim.Spec.VolumeName, claim.Status.Phase, claim.UID = "pv-"+name, corev1.ClaimBound, "claim-uid"
	b.put(claim, api.PersistentVolumeClaims.Resource, name)
	pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-" + name}, Spec: corev1.PersistentVolumeSpec{
		Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("16Mi")}, VolumeMode: &mode,
		ClaimRef: &corev1.ObjectReference{UID: "claim-uid"}, PersistentVolumeSource: source}}
	if _, err := b.client.Create(context.Background(), api.PersistentVolumes.Resource, pv, metav1.CreateOptions{}); err != nil {
		b.t.Fatal(err)
	}
	return vol(name, corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}})
}

func TestLocalDeviceIsFormattedOnce(t *testing.T) {
	b := newBench(t)
	device := loopDevice(t)
	v := b.claimed("disk", corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: device}}, corev1.PersistentVolumeFilesystem)
	ctx := context.Background()
	one, two := named("one", podWith(v)), named("two", podWith(v))
	mount := &corev1.VolumeMount{Name: "disk", MountPath: "/d"}
	for _, pod := range []*corev1.Pod{one, two} {
		if err := b.Mount(ctx, pod); err != nil {
			t.Fatal(err)
		}
	}
	path, err := b.Path(ctx, one, "c", mount, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+"/f", []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, pod := range []*corev1.Pod{one, two} {
		if got := b.read(two, "disk", "f"); got != "kept" {
			t.Errorf("read %q", got)
		}
		if err := b.Unmount(ctx, pod.UID); err != nil {
			t.Fatal(err)
		}
	}
	if mounted, _ := mountpoint.Is(path); mounted {
		t.Error("the device is still mounted")
	}
	if err := b.Mount(ctx, one); err != nil { // what is on it stays on it
		t.Fatal(err)
	}
	if got := b.read(one, "disk", "f"); got != "kept" {
		t.Errorf("read %q", got)
	}
	if err := b.Unmount(ctx, one.UID); err != nil {
		t.Fatal(err)
	}
}

func TestLocalDeviceForAContainer(t *testing.T) {
	b := newBench(t)
	device := loopDevice(t)
	pod := podWith(b.claimed("raw", corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: device}}, corev1.PersistentVolumeBlock))
	pod.Spec.Containers[0].VolumeDevices = []corev1.VolumeDevice{{Name: "raw", DevicePath: "/dev/x"}}
	if err := b.Mount(context.Background(), pod); err != nil {
		t.Fatal(err)
	}
	if path, readOnly, err := b.Device(pod, "raw"); err != nil || path != device || readOnly {
		t.Errorf("device %s, %v, %v", path, readOnly, err)
	}
	if err := b.Unmount(context.Background(), pod.UID); err != nil {
		t.Fatal(err)
	}
}

// The disk appears with the login, as udev would show it.
func TestISCSI(t *testing.T) {
	b := newBench(t)
	device, dir := loopDevice(t), t.TempDir()
	b.diskLinks = dir
	const iqn = "iqn.2001-04.com.example:disk"
	script := "#!/bin/sh\necho \"$@\" >> " + dir + "/calls\ncase \"$*\" in *--login) ln -sf " + device + " " + dir + "/ip-10.0.0.1:3260-iscsi-" + iqn + "-lun-2;; esac\n"
	if err := os.WriteFile(dir+"/iscsiadm", []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	b.put(&corev1.Secret{Data: map[string][]byte{"node.session.auth.username": []byte("me")}}, api.Secrets.Resource, "chap")
	pod := podWith(vol("disk", corev1.VolumeSource{ISCSI: &corev1.ISCSIVolumeSource{TargetPortal: "10.0.0.1", IQN: iqn, Lun: 2, ISCSIInterface: "default",
		FSType: "ext4", SessionCHAPAuth: true, SecretRef: &corev1.LocalObjectReference{Name: "chap"}}}))
	ctx := context.Background()
	if err := b.Mount(ctx, pod); err != nil {
		t.Fatal(err)
	}
	path, err := b.Path(ctx, pod, "c", &corev1.VolumeMount{Name: "disk", MountPath: "/d"}, "")
	if err != nil {
		t.Fatal(err)
	}
	if want := b.cfg.RootDir.Join("plugins/kubernetes.io/iscsi/iface-default/10.0.0.1:3260-" + iqn + "-lun-2"); path != want {
		t.Errorf("mounted on %s, want %s", path, want)
	}
	if _, err := iscsi.Read(path + ".json"); err != nil {
		t.Error(err)
	}
	if err := b.Unmount(ctx, pod.UID); err != nil {
		t.Fatal(err)
	}
	node := "-m node -p 10.0.0.1:3260 -T " + iqn + " -I default "
	want := strings.Join([]string{
		"-m discoverydb -t sendtargets -p 10.0.0.1:3260 -I default -o new",
		"-m discoverydb -t sendtargets -p 10.0.0.1:3260 -I default --discover",
		node + "-o update -n node.session.auth.authmethod -v CHAP",
		node + "-o update -n node.session.auth.username -v me",
		node + "-o update -n node.startup -v manual",
		node + "--login", node + "--logout", node + "-o delete", ""}, "\n")
	if got, err := os.ReadFile(dir + "/calls"); err != nil || string(got) != want {
		t.Errorf("iscsiadm was called with\n%s, %v; want\n%s", got, err, want)
	}
	if left, _ := filepath.Glob(filepath.Dir(path) + "/*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestISCSIWithoutItsTool(t *testing.T) {
	b := newBench(t)
	t.Setenv("PATH", t.TempDir())
	err := b.Mount(context.Background(), podWith(vol("disk", corev1.VolumeSource{ISCSI: &corev1.ISCSIVolumeSource{TargetPortal: "10.0.0.1", IQN: "iqn.x", ISCSIInterface: "default"}})))
	if err == nil || !strings.Contains(err.Error(), `MountVolume.WaitForAttach failed for volume "disk" : failed to get any path for iscsi disk`) ||
		!strings.Contains(err.Error(), "iscsiadm is not installed on this node") {
		t.Errorf("err = %v", err)
	}
}
