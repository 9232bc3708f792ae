package podworker

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
	"clipper/node/cgroup"
	"clipper/node/credential"
	"clipper/node/kubeletconfig"
	"clipper/node/logs"
	"clipper/node/nodetest"
	"clipper/node/podworker/lifecycle"
	"clipper/node/pull"
	"clipper/node/runtime"
)

// rig is one worker with everything around it in memory. Time is synctest's.
type rig struct {
	t       *testing.T
	client  *nodetest.Client
	rt      *nodetest.Runtime
	images  *nodetest.Images
	net     *nodetest.Network
	events  []string
	mu      sync.Mutex
	w       *Worker
	stopped chan error
	cancel  context.CancelFunc
	mounted map[types.UID]bool
	mount   func(*corev1.Pod) error
	refuse  string // reason to refuse a resize
}

func (r *rig) EventAt(ref corev1.ObjectReference, typ, reason, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	where := ""
	if ref.FieldPath != "" {
		where = ref.FieldPath + ": "
	}
	r.events = append(r.events, typ+" "+reason+" "+where+fmt.Sprintf(format, args...))
}

func (r *rig) ConfigMap(ctx context.Context, ns, name string) (*corev1.ConfigMap, error) {
	return api.ConfigMaps.Get(ctx, r.client, ns, name)
}
func (r *rig) Secret(ctx context.Context, ns, name string) (*corev1.Secret, error) {
	return api.Secrets.Get(ctx, r.client, ns, name)
}
func (r *rig) Services(ns string) []*corev1.Service { return api.Services.View(r.client).List(ns) }
func (r *rig) Mount(_ context.Context, p *corev1.Pod) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mount != nil {
		if err := r.mount(p); err != nil {
			return err
		}
	}
	r.mounted[p.UID] = true
	return nil
}
func (r *rig) Unmount(_ context.Context, uid types.UID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.mounted, uid)
	return nil
}
func (r *rig) Path(_ context.Context, p *corev1.Pod, _ string, m *corev1.VolumeMount, sub string) (string, error) {
	return "/vol/" + m.Name + "/" + sub, nil
}
func (r *rig) Device(*corev1.Pod, string) (string, bool, error) {
	return "", false, errors.New("no devices here")
}
func (r *rig) Groups(*corev1.Pod) []int64 { return nil }

func newRig(t *testing.T) *rig {
	r := &rig{t: t, client: nodetest.NewClient(), rt: nodetest.NewRuntime(), net: &nodetest.Network{},
		images:  &nodetest.Images{Present: map[string]runtime.Image{}, Pullable: map[string]runtime.Image{}},
		mounted: map[types.UID]bool{}}
	for _, n := range []string{"web:1", "init:1", "side:1", "crash:1", "job:1"} {
		r.images.Present[n] = runtime.Image{ID: "sha256:" + n, Size: 1}
	}
	return r
}

func (r *rig) config() *Config {
	dir := r.t.TempDir()
	puller, err := pull.New(pull.Config{
		Images: r.images, Settings: kubeletconfig.Default(), Dir: dir + "/image_manager", Secret: r.Secret,
		Logins: func(context.Context, *corev1.Pod, []*corev1.Secret, string) ([]credential.Login, error) {
			return nil, nil
		},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return &Config{Client: r.client, Runtime: r.rt, Images: r.images, Puller: puller, Network: r.net, Volumes: r, Objects: r, Recorder: r,
		NodeName: "node-1", NodeIPs: []netip.Addr{netip.MustParseAddr("192.168.0.1")}, Cgroups: cgroup.Settings{Memory: 1 << 32},
		Allocatable: func() corev1.ResourceList { return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")} },
		PodsDir:     dir + "/pods", LogsDir: dir + "/log/pods", LogLinks: logs.Links(dir + "/log/containers"), CgroupRoot: "/clipper/pods",
		Resizable:  func(*corev1.Pod) (string, string) { return r.refuse, "no room" },
		ClusterDNS: []netip.Addr{netip.MustParseAddr("10.43.0.10")}, ClusterDomain: "cluster.local", ResolvConf: dir + "/resolv.conf"}
}

// start runs a worker for pod and forwards the API's and the runtime's news to it, as the agent does.
func (r *rig) start(pod *corev1.Pod) {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	if pod.ResourceVersion == "" {
		var err error
		if pod, err = api.Pods.Create(ctx, r.client, pod); err != nil {
			r.t.Fatal(err)
		}
	}
	ss, cs, _ := r.rt.List(ctx)
	r.w = New(r.config(), pod, ss, cs, nil)
	r.stopped = make(chan error, 1)
	go func() { r.stopped <- r.w.Run(ctx) }()
	events := r.rt.Events(ctx)
	go func() {
		for ev := range events {
			r.w.ContainerChanged(ev.ContainerID)
		}
	}()
	go func() {
		_ = api.Pods.View(r.client).Watch(ctx, func(ev api.Event) {
			switch ev.Type {
			case api.Deleted:
				r.w.Gone()
			case api.Added, api.Modified:
				r.w.Update(ev.New.(*corev1.Pod))
			}
		})
	}()
}

func (r *rig) pod() *corev1.Pod {
	p, err := api.Pods.Get(context.Background(), r.client, "ns", "p")
	if err != nil {
		r.t.Fatalf("get pod: %v\nevents:\n%s\nruntime:\n%s", err, strings.Join(r.events, "\n"), strings.Join(r.rt.Calls(), "\n"))
	}
	return p
}

// stop ends the agent, not the pod.
func (r *rig) stop() {
	r.cancel()
	synctest.Wait()
	if err := <-r.stopped; err != nil && !errors.Is(err, context.Canceled) {
		r.t.Error(err)
	}
}

func container(name, image string) corev1.Container {
	return corev1.Container{Name: name, Image: image, ImagePullPolicy: corev1.PullIfNotPresent,
		TerminationMessagePath: "/dev/termination-log", TerminationMessagePolicy: corev1.TerminationMessageReadFile}
}

func newPod(cs ...corev1.Container) *corev1.Pod {
	p := &corev1.Pod{}
	p.Name, p.Namespace, p.Generation = "p", "ns", 1
	p.Spec.NodeName, p.Spec.RestartPolicy, p.Spec.DNSPolicy = "node-1", corev1.RestartPolicyAlways, corev1.DNSClusterFirst
	p.Spec.Containers = cs
	p.Status.Phase = corev1.PodPending
	return p
}

func condition(p *corev1.Pod, t corev1.PodConditionType) corev1.ConditionStatus {
	for _, c := range p.Status.Conditions {
		if c.Type == t {
			return c.Status
		}
	}
	return "missing"
}

func TestRunAndDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start(newPod(container("web", "web:1")))
		synctest.Wait()
		p := r.pod()
		if p.Status.Phase != corev1.PodRunning || condition(p, corev1.PodReady) != corev1.ConditionTrue ||
			p.Status.PodIP != "10.42.0.1" || p.Status.HostIP != "192.168.0.1" || p.Status.ContainerStatuses[0].ContainerID != "clipper://p-web-0" {
			t.Fatalf("status = %+v", p.Status)
		}
		want := []string{
			`Normal Pulled spec.containers{web}: Container image "web:1" already present on machine and can be accessed by the pod`,
			`Normal Created spec.containers{web}: Container created`,
			`Normal Started spec.containers{web}: Container started`,
		}
		if !slices.Equal(r.events, want) {
			t.Errorf("events = %s", strings.Join(r.events, "\n"))
		}
		if err := api.Pods.Delete(context.Background(), r.client, "ns", "p", deleteOptions()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := <-r.stopped; err != nil {
			t.Fatal(err)
		}
		r.cancel()
		if _, err := api.Pods.Get(context.Background(), r.client, "ns", "p"); err == nil {
			t.Error("the pod is still in the API")
		}
		if ss, cs, _ := r.rt.List(context.Background()); len(ss)+len(cs)+len(r.net.Attached)+len(r.mounted) != 0 {
			t.Errorf("left behind: sandboxes %v containers %v network %v volumes %v", ss, cs, r.net.Attached, r.mounted)
		}
	})
}

func TestAgentRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		pod := newPod(container("web", "web:1"), container("job", "job:1"))
		pod.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
		r.start(pod)
		synctest.Wait()
		r.stop()
		r.rt.Exit("p-job-0", 0)
		calls := len(r.rt.Calls())
		r.start(r.pod())
		synctest.Wait()
		p := r.pod()
		if got := r.rt.Calls()[calls:]; len(got) != 0 {
			t.Errorf("the new agent did: %v", got)
		}
		if s := p.Status.ContainerStatuses[0].State.Terminated; s == nil || s.ExitCode != 0 || s.Reason != "Completed" {
			t.Errorf("job: %+v", p.Status.ContainerStatuses[0])
		}
		if p.Status.PodIP != "10.42.0.1" || p.Status.ContainerStatuses[1].RestartCount != 0 {
			t.Errorf("status = %+v", p.Status)
		}
		r.stop()
	})
}

// The agent was killed between creating a container and starting it.
func TestStillbornContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start(newPod(container("web", "web:1")))
		synctest.Wait()
		r.stop()
		r.rt.Exit("p-web-0", 1)
		if _, err := r.rt.CreateContainer(context.Background(), runtime.Container{SandboxID: string(r.pod().UID) + "-0", Name: "web", Image: "web:1", Attempt: 1}); err != nil {
			t.Fatal(err)
		}
		r.start(r.pod())
		synctest.Wait()
		if s := r.pod().Status.ContainerStatuses[0]; s.State.Running == nil || s.RestartCount != 1 {
			t.Errorf("status = %+v", s)
		}
		r.stop()
		if _, err := r.rt.CreateContainer(context.Background(), runtime.Container{SandboxID: string(r.pod().UID) + "-0", Name: "web", Image: "web:1", Attempt: 2}); err != nil {
			t.Fatal(err)
		}
		if err := api.Pods.Delete(context.Background(), r.client, "ns", "p", deleteOptions()); err != nil {
			t.Fatal(err)
		}
		r.start(r.pod())
		if err := <-r.stopped; err != nil {
			t.Fatal(err)
		}
		r.cancel()
		if ss, cs, _ := r.rt.List(context.Background()); len(ss)+len(cs) != 0 {
			t.Errorf("left behind: %v %v", ss, cs)
		}
	})
}

// The agent was killed before it started a pod's first container: it has not restarted when it runs.
func TestStillbornFirstContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start(newPod(container("web", "web:2"))) // which is not to be had yet
		synctest.Wait()
		r.stop()
		ctx := context.Background()
		const told = 7 // attempt: tells it from the one to come
		unborn, err := r.rt.CreateContainer(ctx, runtime.Container{SandboxID: string(r.pod().UID) + "-0", Name: "web", Image: "web:2", Attempt: told})
		if err != nil {
			t.Fatal(err)
		}
		seen := r.pod().DeepCopy() // as agents used to tell of it
		seen.Status.ContainerStatuses[0].ContainerID = (&lifecycle.Observed{}).FullID(unborn)
		if _, err := api.Pods.UpdateStatus(ctx, r.client, seen); err != nil {
			t.Fatal(err)
		}
		r.images.Present["web:2"] = runtime.Image{ID: "sha256:web:2", Size: 1}
		r.start(r.pod())
		synctest.Wait()
		if s := r.pod().Status.ContainerStatuses[0]; s.State.Running == nil || s.RestartCount != 0 {
			t.Errorf("status = %+v", s)
		}
		if _, err := r.rt.Status(ctx, unborn); !errors.Is(err, runtime.ErrNotFound) {
			t.Errorf("the container that was never started is still there: %v", err)
		}
		r.stop()
	})
}

func TestCrashLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.rt.Behave["crash:1"] = nodetest.Behaviour{Exit: 3, After: time.Second}
		began := time.Now()
		r.start(newPod(container("c", "crash:1")))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		s := r.pod().Status.ContainerStatuses[0]
		// Started at 0 and, at once, at 1 s; it crashed again at 2 s and now waits until 12 s.
		if s.State.Waiting == nil || s.State.Waiting.Reason != "CrashLoopBackOff" || s.RestartCount != 1 ||
			s.LastTerminationState.Terminated == nil || s.LastTerminationState.Terminated.ExitCode != 3 {
			t.Fatalf("after %s: %+v", time.Since(began), s)
		}
		if want := fmt.Sprintf("back-off 10s restarting failed container=c pod=p_ns(%s)", r.pod().UID); s.State.Waiting.Message != want {
			t.Errorf("message = %q, want %q", s.State.Waiting.Message, want)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		// 0, 1, 12, 33, 74, 155, 316 s, then every 301 s: 7 + (3600-316)/301 + 5 s of slack.
		if n := r.pod().Status.ContainerStatuses[0].RestartCount; n < 16 || n > 18 {
			t.Errorf("%d restarts in an hour", n)
		}
		if _, cs, _ := r.rt.List(context.Background()); len(cs) != 2 {
			t.Errorf("%d records kept, want 2", len(cs))
		}
		r.stop()
	})
}

// Somebody stops the sandbox behind the agent's back.
func TestStoppedSandboxIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start(newPod(container("web", "web:1")))
		synctest.Wait()
		id := string(r.pod().UID)
		r.w.SandboxChanged(id + "-0") // it runs: nothing to do
		synctest.Wait()
		if err := r.rt.StopSandbox(t.Context(), id+"-0"); err != nil {
			t.Fatal(err)
		}
		r.w.SandboxChanged(id + "-0")
		r.w.SandboxChanged(id + "-0")
		time.Sleep(time.Minute)
		synctest.Wait()
		p := r.pod()
		if s := p.Status.ContainerStatuses[0]; s.State.Running == nil || s.RestartCount != 1 || p.Status.PodIP != "10.42.0.2" {
			t.Errorf("status = %+v", p.Status)
		}
		ss, _, _ := r.rt.List(t.Context())
		if len(ss) != 2 || r.w.Sandbox() != id+"-1" {
			t.Errorf("sandboxes %+v, current %q", ss, r.w.Sandbox())
		}
		r.stop()
	})
}

// A runtime that brings the network tells the addresses once the sandbox runs.
func TestNetworkOfTheRuntime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.net.Delegated = true
		r.rt.IPs = []netip.Addr{netip.MustParseAddr("10.9.9.9")}
		r.start(newPod(container("web", "web:1")))
		synctest.Wait()
		p := r.pod()
		if p.Status.PodIP != "10.9.9.9" || p.Status.ContainerStatuses[0].State.Running == nil {
			t.Errorf("status = %+v", p.Status)
		}
		hosts, err := os.ReadFile(filepath.Join(r.w.podDir(p), "etc-hosts"))
		if err != nil || !strings.Contains(string(hosts), "10.9.9.9\tp\n") {
			t.Errorf("hosts file %q, %v", hosts, err)
		}
		r.stop()
	})
}

func TestSidecarsOutliveTheMainContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		always := corev1.ContainerRestartPolicyAlways
		side := container("side", "side:1")
		side.RestartPolicy = &always
		pod := newPod(container("web", "web:1"))
		pod.Spec.InitContainers = []corev1.Container{container("init", "init:1"), side}
		r.rt.Behave["init:1"] = nodetest.Behaviour{After: time.Second}
		r.start(pod)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		_ = api.Pods.Delete(context.Background(), r.client, "ns", "p", deleteOptions())
		synctest.Wait()
		var got []string
		for _, l := range r.rt.Calls() {
			if f := strings.Fields(l); f[0] == "start" || f[0] == "exit" {
				got = append(got, f[0]+" "+f[1])
			}
		}
		want := []string{"start p-init-0", "exit p-init-0", "start p-side-0", "start p-web-0", "exit p-web-0", "exit p-side-0"}
		if !slices.Equal(got, want) {
			t.Errorf("order = %v, want %v", got, want)
		}
		<-r.stopped
		r.cancel()
	})
}

func TestImagePullBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start(newPod(container("c", "missing:1")))
		synctest.Wait()
		if s := r.pod().Status.ContainerStatuses[0].State.Waiting; s == nil || s.Reason != "ErrImagePull" {
			t.Fatalf("state = %+v", s)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		s := r.pod().Status.ContainerStatuses[0].State.Waiting
		if s == nil || s.Reason != "ImagePullBackOff" ||
			s.Message != `Back-off pulling image "missing:1": ErrImagePull: pull missing:1: not found` {
			t.Fatalf("state = %+v", s)
		}
		r.images.Publish("missing:1", runtime.Image{ID: "sha256:m", Size: 42})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if p := r.pod(); p.Status.Phase != corev1.PodRunning {
			t.Fatalf("status = %+v", p.Status)
		}
		if !slices.Contains(r.events, `Normal Pulled spec.containers{c}: Successfully pulled image "missing:1" in 0s (0s including waiting). Image size: 42 bytes.`) {
			t.Errorf("events = %s", strings.Join(r.events, "\n"))
		}
		r.stop()
	})
}

// TestImageBackOffEndsWithItsCause: what the pod refers to has changed, a pull secret perhaps.
func TestImageBackOffEndsWithItsCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start(newPod(container("c", "missing:1")))
		time.Sleep(time.Minute) // the pause is 40 seconds by now
		synctest.Wait()
		r.images.Publish("missing:1", runtime.Image{ID: "sha256:m", Size: 42})
		r.w.Nudge()
		synctest.Wait()
		if p := r.pod(); p.Status.Phase != corev1.PodRunning {
			t.Fatalf("status = %+v", p.Status)
		}
		r.stop()
	})
}

func TestMissingSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		c := container("c", "web:1")
		c.Env = []corev1.EnvVar{{Name: "A", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "k"}}}}
		r.start(newPod(c))
		synctest.Wait()
		s := r.pod().Status.ContainerStatuses[0].State.Waiting
		if s == nil || s.Reason != "CreateContainerConfigError" || s.Message != `secret "s" not found` {
			t.Fatalf("state = %+v", s)
		}
		sec := &corev1.Secret{Data: map[string][]byte{"k": []byte("v")}}
		sec.Name, sec.Namespace = "s", "ns"
		if _, err := api.Secrets.Create(context.Background(), r.client, sec); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if p := r.pod(); p.Status.Phase != corev1.PodRunning || !slices.Contains(r.rt.Specs[0].Env, "A=v") {
			t.Fatalf("status = %+v", p.Status)
		}
		r.stop()
	})
}

func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		pod := newPod(container("c", "web:1"))
		ten := int64(10)
		pod.Spec.ActiveDeadlineSeconds = &ten
		r.start(pod)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		p := r.pod()
		if p.Status.Phase != corev1.PodFailed || p.Status.Reason != "DeadlineExceeded" ||
			p.Status.ContainerStatuses[0].State.Terminated == nil || len(r.net.Attached) != 0 {
			t.Fatalf("status = %+v", p.Status)
		}
		r.stop()
	})
}

func TestLiveness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		c := container("c", "web:1")
		c.LivenessProbe = &corev1.Probe{PeriodSeconds: 5, FailureThreshold: 2, SuccessThreshold: 1, TimeoutSeconds: 1,
			ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"cat", "/x"}}}}
		r.rt.ExecFn = func(id string, _ []string) (int, string) {
			if id == "p-c-0" {
				return 1, "no such file"
			}
			return 0, ""
		}
		r.start(newPod(c))
		time.Sleep(12 * time.Second)
		synctest.Wait()
		p := r.pod()
		if s := p.Status.ContainerStatuses[0]; s.RestartCount != 1 || !s.Ready {
			t.Fatalf("status = %+v", s)
		}
		for _, want := range []string{
			"Warning Unhealthy spec.containers{c}: Liveness probe failed: no such file",
			"Normal Killing spec.containers{c}: Container c failed liveness probe, will be restarted",
		} {
			if !slices.Contains(r.events, want) {
				t.Errorf("no event %q in\n%s", want, strings.Join(r.events, "\n"))
			}
		}
		r.stop()
	})
}

func TestStubbornContainerIsKilledAfterItsGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.rt.Behave["web:1"] = nodetest.Behaviour{IgnoreTerm: true}
		r.start(newPod(container("c", "web:1")))
		synctest.Wait()
		began := time.Now()
		_ = api.Pods.Delete(context.Background(), r.client, "ns", "p", deleteOptions())
		time.Sleep(10 * time.Second)
		two := int64(2) // less patience: what is left of the grace shrinks with it
		_ = api.Pods.Delete(context.Background(), r.client, "ns", "p", metav1.DeleteOptions{GracePeriodSeconds: &two})
		if err := <-r.stopped; err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 12*time.Second {
			t.Errorf("gone after %s, want 12s", took)
		}
		r.cancel()
	})
}

func deleteOptions() metav1.DeleteOptions { return metav1.DeleteOptions{} }

func TestResizeInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		want := func(cpu string) corev1.ResourceRequirements {
			return corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}
		}
		c := container("c", "web:1")
		c.Resources = want("100m")
		r.start(newPod(c))
		synctest.Wait()
		pod := r.pod().DeepCopy()
		pod.Spec.Containers[0].Resources = want("200m")
		if _, err := api.Pods.Update(context.Background(), r.client, pod); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s := r.pod().Status.ContainerStatuses[0]
		if got := s.Resources.Requests.Cpu().String(); got != "200m" || s.RestartCount != 0 || s.AllocatedResources.Cpu().String() != "200m" {
			t.Errorf("status = %+v", s)
		}
		if !slices.Contains(r.rt.Calls(), "update p-c-0 shares=204") {
			t.Errorf("calls = %v", r.rt.Calls())
		}
		// What the node cannot grant waits, and the container keeps what it has.
		r.refuse = "Infeasible"
		pod = r.pod().DeepCopy()
		pod.Spec.Containers[0].Resources = want("900")
		if _, err := api.Pods.Update(context.Background(), r.client, pod); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := condition(r.pod(), corev1.PodResizePending); got != corev1.ConditionTrue {
			t.Errorf("PodResizePending = %s", got)
		}
		if got := r.pod().Status.ContainerStatuses[0].Resources.Requests.Cpu().String(); got != "200m" {
			t.Errorf("it has %s", got)
		}
		r.stop()
	})
}

// A status that someone else has written over is put right after a while, not at once.
func TestForeignStatusIsCorrected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start(newPod(container("c", "web:1")))
		synctest.Wait()
		pod := r.pod().DeepCopy()
		for i := range pod.Status.Conditions {
			if pod.Status.Conditions[i].Type == corev1.PodReady {
				pod.Status.Conditions[i].Status = corev1.ConditionFalse
			}
		}
		if _, err := api.Pods.UpdateStatus(context.Background(), r.client, pod); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if got := condition(r.pod(), corev1.PodReady); got != corev1.ConditionFalse {
			t.Errorf("after 9 s: Ready = %s", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := condition(r.pod(), corev1.PodReady); got != corev1.ConditionTrue {
			t.Errorf("after 11 s: Ready = %s", got)
		}
		r.stop()
	})
}
