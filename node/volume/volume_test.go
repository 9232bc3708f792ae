package volume

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
	"clipper/mountpoint"
	"clipper/node/kubeletdir"
	"clipper/node/nodetest"
)

type bench struct {
	*Manager
	t      *testing.T
	client *nodetest.Client
	host   string
	events *recorder
}

func newBench(t *testing.T) *bench {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	c := nodetest.NewClient()
	root := kubeletdir.Dir(dir + "/kubelet")
	events := &recorder{}
	m := New(Config{Client: c, RootDir: root, PodsDir: root.Join("pods"), MemoryDir: dir + "/memory", NodeName: "n", Recorder: events,
		Allocatable: func() corev1.ResourceList {
			return corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi"), corev1.ResourceCPU: resource.MustParse("2")}
		}})
	if err := m.Prepare(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Sweep(context.Background(), func(types.UID) bool { return false }); err != nil {
			t.Error(err)
		}
		for _, path := range []string{dir + "/memory", string(root)} {
			if err := mountpoint.Unmount(path); err != nil {
				t.Error(err)
			}
		}
	})
	return &bench{m, t, c, dir + "/host", events}
}

// recorder keeps events as "Type Reason Message".
type recorder struct {
	mu   sync.Mutex
	list []string
}

func (r *recorder) Event(_ api.Object, eventType, reason, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, eventType+" "+reason+" "+fmt.Sprintf(format, args...))
}

func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.list
	r.list = nil
	return out
}

func (b *bench) put(o api.Object, r api.Resource, name string) {
	b.t.Helper()
	o.SetNamespace("ns")
	o.SetName(name)
	if _, err := b.client.Create(context.Background(), r, o, metav1.CreateOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) read(pod *corev1.Pod, volume, file string) string {
	b.t.Helper()
	path, err := b.Path(context.Background(), pod, "c", &corev1.VolumeMount{Name: volume, MountPath: "/m"}, "")
	if err != nil {
		b.t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(path, file))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(data)
}

func podWith(vs ...corev1.Volume) *corev1.Pod {
	p := &corev1.Pod{}
	p.Name, p.Namespace, p.UID = "p", "ns", "uid-1"
	p.Labels = map[string]string{"a": "1"}
	p.Spec.Containers = []corev1.Container{{Name: "c"}}
	p.Spec.Volumes = vs
	return p
}

func vol(name string, s corev1.VolumeSource) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: s}
}

func TestContentFollowsItsSource(t *testing.T) {
	b := newBench(t)
	b.put(&corev1.ConfigMap{Data: map[string]string{"k": "old", "gone": "x"}}, api.ConfigMaps.Resource, "cm")
	b.put(&corev1.Secret{Data: map[string][]byte{"pw": []byte("s3cret")}}, api.Secrets.Resource, "sec")
	b.put(&corev1.Secret{Data: map[string][]byte{"x": []byte("y")}}, api.Secrets.Resource, "maybe")
	mode, yes := int32(0o400), true
	seconds := int64(3600)
	pod := podWith(
		vol("cm", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}}),
		vol("sec", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "sec", DefaultMode: &mode,
			Items: []corev1.KeyToPath{{Key: "pw", Path: "deep/er/pw"}}}}),
		vol("maybe", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "maybe", Optional: &yes}}),
		vol("all", corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &seconds}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
				{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}}}}},
		}}}),
	)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	changed := make(chan types.UID, 100)
	b.cfg.Changed = func(u types.UID) { changed <- u }
	go func() { done <- b.Run(ctx) }()
	defer func() { cancel(); <-done }()
	if err := b.Mount(ctx, pod); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ volume, file, want string }{
		{"cm", "k", "old"}, {"sec", "deep/er/pw", "s3cret"}, {"all", "token", "token-1-of-ns-default"}, {"all", "labels", `a="1"`},
	} {
		if got := b.read(pod, tc.volume, tc.file); got != tc.want {
			t.Errorf("%s/%s = %q, want %q", tc.volume, tc.file, got, tc.want)
		}
	}
	path, _ := b.Path(ctx, pod, "c", &corev1.VolumeMount{Name: "sec"}, "")
	if !strings.HasPrefix(path, b.cfg.MemoryDir) {
		t.Errorf("the secret lies at %s, not in memory", path)
	}
	if info, _ := os.Stat(filepath.Join(path, "deep/er/pw")); info.Mode().Perm() != 0o400 {
		t.Errorf("mode = %v", info.Mode())
	}

	cm, _ := api.ConfigMaps.Get(ctx, b.client, "ns", "cm")
	cm = cm.DeepCopy()
	cm.Data = map[string]string{"k": "new", "more": "y"}
	if _, err := api.ConfigMaps.Update(ctx, b.client, cm); err != nil {
		t.Fatal(err)
	}
	dir, _ := b.Path(ctx, pod, "c", &corev1.VolumeMount{Name: "cm"}, "")
	// await waits until a change has made a file vanish: the last thing that an update does.
	await := func(path string) {
		t.Helper()
		patience := time.After(5 * time.Second)
		for {
			if _, err := os.Lstat(path); os.IsNotExist(err) {
				return
			}
			select {
			case <-changed:
			case <-patience:
				t.Fatalf("%s is still there", path)
			}
		}
	}
	await(filepath.Join(dir, "gone"))
	if got := b.read(pod, "cm", "k") + b.read(pod, "cm", "more"); got != "newy" {
		t.Errorf("after the update: %q", got)
	}
	if err := api.Secrets.Delete(ctx, b.client, "ns", "maybe", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	maybe, _ := b.Path(ctx, pod, "c", &corev1.VolumeMount{Name: "maybe"}, "")
	await(filepath.Join(maybe, "x"))
	next := pod.DeepCopy()
	next.Labels["a"] = "2"
	b.Update(context.Background(), next)
	if got := b.read(pod, "all", "labels"); got != `a="2"` {
		t.Errorf("labels = %s", got)
	}
	if b.client.Tokens != 1 {
		t.Errorf("%d tokens were asked for, want 1", b.client.Tokens)
	}
	if err := b.Unmount(ctx, pod.UID); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(b.cfg.MemoryDir, "*")); len(left) != 0 {
		t.Errorf("left in memory: %v", left)
	}
}

func TestFailures(t *testing.T) {
	b := newBench(t)
	b.put(&corev1.ConfigMap{Data: map[string]string{"k": "v"}}, api.ConfigMaps.Resource, "cm")
	dir := corev1.HostPathDirectory
	for _, tc := range []struct {
		source corev1.VolumeSource
		want   string
	}{
		{corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "y"}}},
			`MountVolume.SetUp failed for volume "x" : configmap "y" not found`},
		{corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"},
			Items: []corev1.KeyToPath{{Key: "nope", Path: "p"}}}},
			`MountVolume.SetUp failed for volume "x" : configmap references non-existent config key: nope`},
		{corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "y"}},
			`MountVolume.SetUp failed for volume "x" : secret "y" not found`},
		{corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/does/not/exist", Type: &dir}},
			`MountVolume.SetUp failed for volume "x" : hostPath type check failed: /does/not/exist is not a directory`},
		{corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "d.example"}},
			`MountVolume.SetUp failed for volume "x" : kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: driver name d.example not found in the list of registered CSI drivers`},
	} {
		err := b.Mount(context.Background(), podWith(vol("x", tc.source)))
		if err == nil || err.Error() != tc.want {
			t.Errorf("err = %v\nwant  %s", err, tc.want)
		}
	}
}

func TestEmptyDirAndSubPaths(t *testing.T) {
	b := newBench(t)
	gid := int64(4242)
	limit := resource.MustParse("1Mi")
	pod := podWith(
		vol("disk", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}),
		vol("mem", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: &limit}}),
		vol("host", corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: b.host}}),
	)
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: &gid}
	ctx := context.Background()
	if err := b.Mount(ctx, pod); err != nil {
		t.Fatal(err)
	}
	disk, _ := b.Path(ctx, pod, "c", &corev1.VolumeMount{Name: "disk", MountPath: "/d"}, "")
	if info, err := os.Stat(disk); err != nil || info.Mode()&fs.ModeSetgid == 0 || info.Mode().Perm() != 0o777 {
		t.Errorf("disk: %v, %v", info.Mode(), err)
	}
	mem, _ := b.Path(ctx, pod, "c", &corev1.VolumeMount{Name: "mem", MountPath: "/d"}, "")
	if err := os.WriteFile(mem+"/big", make([]byte, 2<<20), 0o644); err == nil {
		t.Error("2 MiB fit in an emptyDir of 1 MiB")
	}
	// A subPath is made, pinned, and points into the volume.
	host := corev1.VolumeMount{Name: "host", MountPath: "/h"}
	if _, err := b.Path(ctx, pod, "c", &host, ""); err != nil {
		t.Fatal(err)
	}
	sub, err := b.Path(ctx, pod, "c", &host, "a/b")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(sub+"/f", []byte("kept"), 0o644); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(b.host + "/a/b/f"); err != nil || string(data) != "kept" {
		t.Errorf("through the subPath: %q, %v", data, err)
	}
	// A link out of the volume is refused.
	if err := os.Symlink("/etc", b.host+"/evil"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Path(ctx, pod, "c", &host, "evil/passwd"); err == nil || !strings.Contains(err.Error(), "leads out of the volume") {
		t.Errorf("err = %v", err)
	}
	// A mount that the pod shared into its emptyDir is taken off, not emptied.
	if err := os.Mkdir(disk+"/shared", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := mountpoint.Tmpfs(disk+"/shared", 1<<20, "0755"); err != nil {
		t.Fatal(err)
	}
	if err := b.Unmount(ctx, pod.UID); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(b.host + "/a/b/f"); err != nil || string(data) != "kept" {
		t.Errorf("the host's data after Unmount: %q, %v", data, err)
	}
	if left, _ := filepath.Glob(filepath.Join(b.cfg.PodsDir, "*", "*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
