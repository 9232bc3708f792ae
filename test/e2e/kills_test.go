package e2e

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	clientcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/clientcmd"
)

var killsFlag = flag.Int("kills", 20, "how often TestAgentKilledUnderLoad kills the agent")

// TestAgentKilledUnderLoad kills a node's agent at random moments while pods are created, restart, are exec'd into and
// are deleted. Whatever the moment: containers that have no reason to do not restart, none is left running, how each
// container ended is known, and when all pods are gone, nothing of them is left on the node.
func TestAgentKilledUnderLoad(t *testing.T) {
	u := ownCluster(t, 2)
	l := newLoad(t, u)
	for i := range 4 {
		l.create(l.pod(fmt.Sprintf("steady-%d", i), corev1.RestartPolicyAlways, "exec sleep 100000"))
		l.create(l.pod(fmt.Sprintf("restarts-%d", i), corev1.RestartPolicyAlways, "echo x >>/runs/runs; sleep 0.$((RANDOM % 9)); exit 3"))
	}
	before := l.identities("steady")
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() { l.comeAndGo(ctx) })
	work.Go(func() { l.comeToTheirEnd(ctx) })
	work.Go(func() { l.exec(ctx) })
	for i := range *killsFlag {
		time.Sleep(rand.N(1500 * time.Millisecond)) // the moment is the point
		pid := u.nodeProcess("node-2")
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		waitGone(t, pid)
		u.clipperRun("sandbox", "create", u.name)
		if after := l.identities("steady"); after != before {
			t.Fatalf("kill %d: steady pods went from\n%s\nto\n%s", i, before, after)
		}
		if (i+1)%50 == 0 {
			t.Logf("%d kills, %d pods came and went, %d came to their end, %d commands ran", i+1, l.gone.Load(), l.ended.Load(), l.execs.Load())
		}
	}
	stop()
	work.Wait()
	if l.gone.Load() == 0 || l.ended.Load() == 0 || l.execs.Load() == 0 {
		t.Errorf("no load: %d pods came and went, %d came to their end, %d commands ran", l.gone.Load(), l.ended.Load(), l.execs.Load())
	}
	l.checkRestarts()
	if err := l.pods.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := noPodTraces(u.name, 2, 30*time.Second); err != nil {
		t.Error(err)
	}
}

// A load is what goes on on the node whose agent is killed.
type load struct {
	t    *testing.T
	u    *user
	pods clientcorev1.PodInterface

	gone, ended, execs atomic.Int64
}

func newLoad(t *testing.T, u *user) *load {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", u.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.Burst = -1, -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	l := &load{t: t, u: u, pods: client.CoreV1().Pods("default")}
	waitFor(t, "the default service account", func() bool {
		_, err := client.CoreV1().ServiceAccounts("default").Get(t.Context(), "default", metav1.GetOptions{})
		return err == nil
	})
	return l
}

// pod is one on the node whose agent is killed, with a counter of its runs in a volume.
func (l *load) pod(name string, restart corev1.RestartPolicy, script string) *corev1.Pod {
	grace := int64(0)
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
		NodeSelector: map[string]string{corev1.LabelHostname: "node-2"}, RestartPolicy: restart, TerminationGracePeriodSeconds: &grace,
		Volumes: []corev1.Volume{{Name: "runs", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
		Containers: []corev1.Container{{
			Name: "c", Image: "busybox:1.36", Command: []string{"sh", "-c", script},
			VolumeMounts: []corev1.VolumeMount{{Name: "runs", MountPath: "/runs"}},
		}},
	}}
}

// create creates a pod and waits until its container has started once.
func (l *load) create(pod *corev1.Pod) {
	l.t.Helper()
	if _, err := l.pods.Create(l.t.Context(), pod, metav1.CreateOptions{}); err != nil {
		l.t.Fatal(err)
	}
	waitFor(l.t, "pod "+pod.Name+" to start", func() bool {
		now, err := l.pods.Get(l.t.Context(), pod.Name, metav1.GetOptions{})
		return err == nil && len(now.Status.ContainerStatuses) == 1 && now.Status.ContainerStatuses[0].ContainerID != ""
	})
}

// identities tells which containers the pods whose name begins with prefix run, and how often they were restarted.
func (l *load) identities(prefix string) string {
	l.t.Helper()
	list, err := l.pods.List(l.t.Context(), metav1.ListOptions{})
	if err != nil {
		l.t.Fatal(err)
	}
	var out strings.Builder
	for _, p := range list.Items {
		if strings.HasPrefix(p.Name, prefix) && len(p.Status.ContainerStatuses) == 1 {
			s := p.Status.ContainerStatuses[0]
			fmt.Fprintln(&out, p.Name, p.Status.Phase, s.RestartCount, s.ContainerID)
		}
	}
	return out.String()
}

// comeAndGo creates and deletes pods, at any moment of their lives, until ctx ends.
func (l *load) comeAndGo(ctx context.Context) {
	var lives sync.WaitGroup
	defer lives.Wait()
	for i := 0; ctx.Err() == nil; i++ {
		name := fmt.Sprintf("goes-%d", i)
		if _, err := l.pods.Create(ctx, l.pod(name, corev1.RestartPolicyAlways, "exec sleep 100000"), metav1.CreateOptions{}); err != nil {
			continue
		}
		lives.Go(func() {
			sleep(ctx, rand.N(800*time.Millisecond))
			grace := rand.N(int64(2))
			err := l.pods.Delete(l.t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: &grace})
			if err != nil && !apierrors.IsNotFound(err) {
				l.t.Errorf("delete %s: %v", name, err)
			}
			l.gone.Add(1)
		})
		sleep(ctx, 200*time.Millisecond)
	}
}

// comeToTheirEnd runs pods that end by themselves, in time or while no agent looks, until ctx ends, and checks what
// is told of their end.
func (l *load) comeToTheirEnd(ctx context.Context) {
	var lives sync.WaitGroup
	defer lives.Wait()
	for i := 0; ctx.Err() == nil; i++ {
		name, code := fmt.Sprintf("ends-%d", i), 1+rand.N(100)
		script := fmt.Sprintf("echo x >>/runs/runs; sleep 0.%d; echo last words >/dev/termination-log; exit %d", rand.N(10), code)
		if _, err := l.pods.Create(ctx, l.pod(name, corev1.RestartPolicyNever, script), metav1.CreateOptions{}); err != nil {
			continue
		}
		lives.Go(func() { l.checkEnd(name, code) })
		sleep(ctx, 300*time.Millisecond)
	}
}

func (l *load) checkEnd(name string, code int) {
	var pod *corev1.Pod
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		now, err := l.pods.Get(l.t.Context(), name, metav1.GetOptions{})
		if err == nil && now.Status.Phase == corev1.PodFailed {
			pod = now
			break
		}
		if time.Now().After(end) {
			l.t.Errorf("%s has not ended: %v %+v", name, err, now.Status)
			return
		}
	}
	s := pod.Status.ContainerStatuses[0]
	if e := s.State.Terminated; e == nil || e.ExitCode != int32(code) || e.Reason != "Error" || e.Message != "last words\n" || s.RestartCount != 0 || e.StartedAt.IsZero() || e.FinishedAt.IsZero() {
		l.t.Errorf("%s exited with %d and said its last words; of the pod is said %q %q, of the container %+v", name, code, pod.Status.Reason, pod.Status.Message, s)
	}
	if err := l.pods.Delete(l.t.Context(), name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		l.t.Errorf("delete %s: %v", name, err)
	}
	l.ended.Add(1)
}

// exec runs commands in a pod until ctx ends. They may be cut off; what they say must be right.
func (l *load) exec(ctx context.Context) {
	for ctx.Err() == nil {
		r := l.u.try("exec", "steady-0", "--", "echo", "hello")
		switch {
		case r.out == "hello\n" && r.code == 0:
			l.execs.Add(1)
		case r.out != "":
			l.t.Errorf("exec: %+v", r)
		}
		sleep(ctx, 100*time.Millisecond)
	}
}

// checkRestarts compares how often containers say that they have run with what is told of it.
func (l *load) checkRestarts() {
	l.t.Helper()
	for i := range 4 {
		name := fmt.Sprintf("restarts-%d", i)
		waitFor(l.t, name+" to have run as often as is said", func() bool {
			runs, err := l.runs(name)
			pod, err2 := l.pods.Get(l.t.Context(), name, metav1.GetOptions{})
			if err != nil || err2 != nil || len(pod.Status.ContainerStatuses) != 1 {
				return false
			}
			return int(pod.Status.ContainerStatuses[0].RestartCount)+1 == runs
		})
	}
}

// runs counts the runs of a pod's container by what they have written to its volume on the node.
func (l *load) runs(name string) (int, error) {
	pod, err := l.pods.Get(l.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return 0, err
	}
	data, err := os.ReadFile(filepath.Join(sandboxDir(l.u.name), "nodes/node-2/kubelet/pods", string(pod.UID), "volumes/kubernetes.io~empty-dir/runs/runs"))
	return bytes.Count(data, []byte("x\n")), err
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
