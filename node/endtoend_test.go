package node

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubelet/config/v1beta1"

	"clipper/api"
	"clipper/api/remote"
	"clipper/apiserver/apiservertest"
	"clipper/image"
	"clipper/node/kubeletconfig"
	"clipper/node/network"
	"clipper/node/network/netns"
	"clipper/node/nodetest"
	"clipper/node/runtime/embedded"
	"clipper/node/runtime/embedded/wire"
	"clipper/pki"
)

// The tests here run pods for good: a real API server over HTTPS, the real runtime with its shim, real
// mounts. Only the pod network is missing: each pod has a namespace of its own with nothing but loopback.

// loopback is a network of namespaces that lead nowhere.
type loopback struct {
	dir string
	mu  sync.Mutex
	ips map[string]netip.Addr
}

func (l *loopback) Attach(_ context.Context, id string, _ []network.PodPort) (network.Attachment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	path := filepath.Join(l.dir, id)
	if !netns.Exists(path) {
		if err := netns.Create(path); err != nil {
			return network.Attachment{}, err
		}
	}
	if _, ok := l.ips[id]; !ok {
		l.ips[id] = netip.AddrFrom4([4]byte{10, 42, 0, byte(len(l.ips) + 2)})
	}
	return network.Attachment{NetNS: path, IPs: []netip.Addr{l.ips[id]}}, nil
}

func (l *loopback) Detach(_ context.Context, id string) error {
	return netns.Remove(filepath.Join(l.dir, id))
}

func (l *loopback) List(context.Context) ([]string, error) {
	entries, err := os.ReadDir(l.dir)
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out, err
}

// cluster is an API server and one node's worth of parts.
type cluster struct {
	testing.TB
	dir    string
	client *remote.Client // the node's
	admin  *remote.Client
	ctx    context.Context
	images *image.Store
	net    *loopback
	cgroup string
	addr   string
	stop   func() // the agent
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("running containers takes root")
	}
	box := tool(t, "busybox/busybox", "run the tests of node/runtime/embedded")
	shim := tool(t, "test-shim", "run the tests of node/runtime/embedded")
	dir, err := os.MkdirTemp(filepath.Dir(shim), "node-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // registered first, so that it runs last
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	c := &cluster{TB: t, dir: dir, cgroup: "/clipper-test/" + filepath.Base(dir), net: &loopback{dir: dir + "/netns", ips: map[string]netip.Addr{}}}
	if err := os.MkdirAll(c.net.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := apiservertest.Start(t)
	ctx, cancel := context.WithCancel(context.Background())
	c.ctx = ctx
	config := s.Admin(t)
	if c.admin, err = remote.New(config, ""); err != nil {
		t.Fatal(err)
	}
	pair, err := s.Keys.CA.Issue(pki.NodeProfile("n1"))
	if err != nil {
		t.Fatal(err)
	}
	if config.CertData, config.KeyData, err = pki.EncodePair(pair); err != nil {
		t.Fatal(err)
	}
	if c.client, err = remote.New(config, "n1"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 2)
	go func() { done <- c.client.Run(ctx) }()
	go func() { done <- c.admin.Run(ctx) }()
	c.awaitServiceAccount()
	if c.images, err = image.Open(image.Options{Dir: dir + "/images"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.images.Add(ctx, busyboxImage(t, box), "docker.io/library/busybox:1"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.cleanUp()
		cancel()
		<-done
		<-done
	})
	c.start(shim)
	return c
}

// awaitServiceAccount waits for what a controller makes and pods need.
func (c *cluster) awaitServiceAccount() {
	ctx, cancel := context.WithTimeout(c.ctx, 20*time.Second)
	defer cancel()
	_ = api.ServiceAccounts.View(c.admin).Watch(ctx, func(ev api.Event) {
		if ev.New != nil && ev.New.GetNamespace() == "default" && ev.New.GetName() == "default" {
			cancel()
		}
	})
}

// tool returns a program from the repository's cache folder, where other tests leave it.
func tool(t testing.TB, name, how string) string {
	path, err := filepath.Abs("../.cache/" + name)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Skipf("%s is not there: %s first", name, how)
	}
	return path
}

// busyboxImage makes an image of one program.
func busyboxImage(t testing.TB, path string) v1.Image {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h tar.Header, data []byte) {
		h.Size = int64(len(data))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"bin", "etc", "tmp", "root"} {
		add(tar.Header{Name: d, Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	}
	add(tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, data)
	add(tar.Header{Name: "etc/passwd", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("root:x:0:0:root:/root:/bin/sh\n"))
	for _, a := range strings.Fields("sh sleep cat echo ls id kill true false hostname nc wc touch env trap") {
		add(tar.Header{Name: "bin/" + a, Typeflag: tar.TypeSymlink, Linkname: "busybox"}, nil)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	img, err = mutate.Config(img, v1.Config{Env: []string{"PATH=/bin"}, Cmd: []string{"/bin/sh"}})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// openSettings let everybody do everything.
func openSettings() *kubeletconfig.Configuration {
	c := kubeletconfig.Default()
	*c.Authentication.Anonymous.Enabled = true
	c.Authorization.Mode = v1beta1.KubeletAuthorizationModeAlwaysAllow
	*c.HealthzPort = 0
	c.EvictionHard = map[string]string{} // what this machine is short of is none of the tests' business
	return c
}

// start runs an agent. Its runtime connects to the shim that an earlier one may have left.
func (c *cluster) start(shim string) {
	c.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	rt, err := embedded.Open(ctx, embedded.Options{DataDir: c.dir, Snapshots: c.images, ShimPath: shim})
	if err != nil {
		c.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.Fatal(err)
	}
	c.addr = l.Addr().String()
	cert := borrowedCertificate()
	a, err := New(Options{Client: c.client, Runtime: rt, Images: c.images, NodeName: "n1", NodeIPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
		DataDir: c.dir, CgroupRoot: c.cgroup, Listener: l, ClientCAs: x509.NewCertPool(),
		ServingCert: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil },
		Config:      openSettings(),
		OpenNetwork: func(context.Context, *corev1.Node) (network.Network, error) { return c.net, nil }})
	if err != nil {
		c.Fatal(err)
	}
	done := make(chan error, 2)
	go func() { done <- rt.Run(ctx) }()
	go func() { done <- a.Run(ctx) }()
	c.stop = func() {
		cancel()
		if err := errors.Join(<-done, <-done); err != nil && !errors.Is(err, context.Canceled) {
			c.Error(err)
		}
		rt.Close()
	}
}

func borrowedCertificate() tls.Certificate {
	ts := httptest.NewUnstartedServer(http.NotFoundHandler())
	ts.StartTLS()
	defer ts.Close()
	return ts.TLS.Certificates[0]
}

// cleanUp deletes what the test has left, checks that nothing remains, and ends the shim.
func (c *cluster) cleanUp() {
	zero := int64(1)
	for _, p := range api.Pods.View(c.client).List("") {
		if err := api.Pods.Delete(c.ctx, c.admin, p.Namespace, p.Name, metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
			c.Error(err)
		}
	}
	c.eventually("all pods are gone", func() bool { return len(api.Pods.View(c.client).List("")) == 0 })
	for _, dir := range []string{"kubelet/pods", "memory", "logs/pods", "netns", "runtime/containers", "images/snapshots/node"} {
		if left, _ := os.ReadDir(filepath.Join(c.dir, dir)); len(left) > 0 {
			c.Errorf("left in %s: %v", dir, left)
		}
	}
	c.stop()
	conn, err := wire.Dial(filepath.Join(c.dir, "runtime"))
	if err == nil {
		err = errors.Join(conn.Send(&wire.Request{Op: wire.OpShutdown}), conn.Close())
	}
	if err != nil {
		c.Error(err)
	}
	if err := nodetest.UnmountBelow(c.dir); err != nil {
		c.Error(err)
	}
	c.removeCgroups()
}

// removeCgroups removes the empty groups that pods' groups were made in.
func (c *cluster) removeCgroups() {
	tops, err := filepath.Glob("/sys/fs/cgroup/*" + c.cgroup)
	if err != nil {
		c.Fatal(err)
	}
	for _, top := range append(tops, "/sys/fs/cgroup"+c.cgroup) {
		for _, dir := range []string{top + "/besteffort", top + "/burstable", top} {
			if err := os.Remove(dir); err != nil && !os.IsNotExist(err) {
				c.Error(err)
			}
		}
		_ = os.Remove(filepath.Dir(top)) // shared with other tests: gone with the last
	}
}

// eventually waits for the view of pods to show something.
func (c *cluster) eventually(what string, ok func() bool) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, 20*time.Second)
	defer cancel()
	_ = api.Pods.View(c.client).Watch(ctx, func(api.Event) {
		if ok() {
			cancel()
		}
	})
	if !ok() {
		for _, p := range api.Pods.View(c.client).List("") {
			c.Logf("%s: %+v", p.Name, p.Status)
		}
		c.Fatalf("never: %s", what)
	}
}

func (c *cluster) create(name, script string, change func(*corev1.Pod)) *corev1.Pod {
	c.Helper()
	one := int64(1)
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	p.Spec = corev1.PodSpec{NodeName: "n1", TerminationGracePeriodSeconds: &one,
		Containers: []corev1.Container{{Name: "c", Image: "busybox:1", Command: []string{"sh", "-c", script}}}}
	if change != nil {
		change(p)
	}
	p, err := api.Pods.Create(c.ctx, c.admin, p)
	if err != nil {
		c.Fatal(err)
	}
	return p
}

func (c *cluster) pod(name string) *corev1.Pod {
	p, ok := api.Pods.View(c.client).Get("default", name)
	if !ok {
		return &corev1.Pod{}
	}
	return p
}

func (c *cluster) phase(name string, want corev1.PodPhase) *corev1.Pod {
	c.Helper()
	c.eventually(fmt.Sprintf("%s is %s", name, want), func() bool { return c.pod(name).Status.Phase == want })
	return c.pod(name)
}

func (c *cluster) logs(name string) string {
	c.Helper()
	cl := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer cl.CloseIdleConnections()
	resp, err := cl.Get("https://" + c.addr + "/containerLogs/default/" + name + "/c")
	if err != nil {
		c.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.Fatal(err)
	}
	return string(b)
}

func TestRealPods(t *testing.T) {
	c := newCluster(t)
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "cm"}, Data: map[string]string{"k": "from the map"}}
	if _, err := api.ConfigMaps.Create(c.ctx, c.admin, cm); err != nil {
		t.Fatal(err)
	}
	c.create("job", `cat /cm/k; echo; echo "$V on $(hostname)"; echo done >/dev/termination-log; touch /data/x; cat /var/run/secrets/kubernetes.io/serviceaccount/namespace`, func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.Volumes = []corev1.Volume{
			{Name: "cm", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}}},
			{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "cm", MountPath: "/cm"}, {Name: "data", MountPath: "/data"}}
		p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "V", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}}
	})
	p := c.phase("job", corev1.PodSucceeded)
	st := p.Status.ContainerStatuses[0].State.Terminated
	if st == nil || st.Message != "done\n" || st.Reason != "Completed" {
		t.Errorf("status = %+v", p.Status.ContainerStatuses[0])
	}
	if got := c.logs("job"); got != "from the map\njob on job\ndefault" {
		t.Errorf("logs = %q", got)
	}

	c.create("image", "cat /img/etc/passwd; touch /img/x", func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.Volumes = []corev1.Volume{{Name: "img", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "busybox:1"}}}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "img", MountPath: "/img"}}
	})
	c.phase("image", corev1.PodFailed) // for what it tried to write
	if got := c.logs("image"); !strings.HasPrefix(got, "root:x:0:0:root:/root:/bin/sh\n") || !strings.Contains(got, "Read-only") {
		t.Errorf("logs = %q", got)
	}

	c.create("fails", "exit 3", func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever })
	p = c.phase("fails", corev1.PodFailed)
	if s := p.Status.ContainerStatuses[0].State.Terminated; s.ExitCode != 3 || s.Reason != "Error" {
		t.Errorf("state = %+v", s)
	}

	c.create("web", "trap 'exit 0' TERM; touch /tmp/ready; while :; do sleep 0.1; done", func(p *corev1.Pod) {
		p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{PeriodSeconds: 1,
			ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"cat", "/tmp/ready"}}}}
	})
	c.eventually("web is ready", func() bool {
		s := c.pod("web").Status
		return len(s.ContainerStatuses) == 1 && s.ContainerStatuses[0].Ready
	})
}

// The agent ends and another takes its place: containers run on, none restarts, and what has ended
// meanwhile is reported with its code.
func TestRealAgentRestart(t *testing.T) {
	c := newCluster(t)
	c.create("stays", "sleep 1000", nil)
	c.create("ends", "while ! test -e /tmp/go; do sleep 0.05; done; exit 5", func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.Volumes = []corev1.Volume{{Name: "t", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: c.dir + "/signal"}}}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "t", MountPath: "/tmp"}}
	})
	before := c.phase("stays", corev1.PodRunning)
	c.phase("ends", corev1.PodRunning)
	c.stop()
	if err := os.WriteFile(c.dir+"/signal/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	c.start(tool(t, "test-shim", ""))
	p := c.phase("ends", corev1.PodFailed)
	if s := p.Status.ContainerStatuses[0].State.Terminated; s == nil || s.ExitCode != 5 {
		t.Errorf("state = %+v", p.Status.ContainerStatuses[0].State)
	}
	after := c.pod("stays")
	if a, b := before.Status.ContainerStatuses[0], after.Status.ContainerStatuses[0]; a.ContainerID != b.ContainerID || b.RestartCount != 0 || b.State.Running == nil {
		t.Errorf("before %+v\nafter  %+v", a, b)
	}
}
