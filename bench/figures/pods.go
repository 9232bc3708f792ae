package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	clientcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/clientcmd"

	"clipper/sandbox"
)

// manyPods has room for 500 pods on a node. A disk that is rather full is not what is measured.
const manyPods = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
maxPods: 600
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%, imagefs.inodesFree: 1%}
`

// A crowd is many pods on the last node of a cluster.
type crowd struct {
	b          *bench
	kubeconfig string
	node       string
	pods       clientcorev1.PodInterface
}

// withCrowd makes a cluster with an image and hands it to fn.
func (b *bench) withCrowd(ctx context.Context, nodes int, fn func(c *crowd) error) error {
	config := filepath.Join(b.dir, "kubelet.yaml")
	if err := os.WriteFile(config, []byte(manyPods), 0o600); err != nil {
		return err
	}
	return b.withCluster(ctx, nodes, func(kubeconfig string, _ time.Duration) error {
		if _, err := b.sandbox(ctx, "image-load", clusterName, busyboxArchive); err != nil {
			return err
		}
		client, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return err
		}
		client.QPS, client.Burst = -1, -1
		cs, err := kubernetes.NewForConfig(client)
		if err != nil {
			return err
		}
		for { // the default service account follows the namespace
			if _, err := cs.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{}); err == nil {
				break
			}
			if err := wait(ctx, 20*time.Millisecond); err != nil {
				return err
			}
		}
		return fn(&crowd{b: b, kubeconfig: kubeconfig, node: fmt.Sprintf("node-%d", nodes), pods: cs.CoreV1().Pods("default")})
	}, "--kubelet-config", config)
}

// pod is a server that is probed every ten seconds.
func (c *crowd) pod(name string) *corev1.Pod {
	grace := int64(0)
	probe := func() *corev1.Probe {
		return &corev1.Probe{PeriodSeconds: 10, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/index", Port: intstr.FromInt32(80)}}}
	}
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
		TerminationGracePeriodSeconds: &grace, NodeSelector: map[string]string{corev1.LabelHostname: c.node},
		Containers: []corev1.Container{{
			Name: "c", Image: "busybox:1.36", ImagePullPolicy: corev1.PullIfNotPresent,
			Command:       []string{"sh", "-c", "echo well >/tmp/index; exec busybox httpd -f -p 80 -h /tmp"},
			LivenessProbe: probe(), ReadinessProbe: probe(),
		}},
	}}
}

// fill creates n pods at once and returns when all are Ready, which they are once they have answered a probe.
func (c *crowd) fill(ctx context.Context, n int) (time.Duration, error) {
	list, err := c.pods.List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	start := time.Now()
	watch, err := c.pods.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		return 0, err
	}
	defer watch.Stop()
	var creators sync.WaitGroup
	errs := make(chan error, n)
	for i := range n {
		creators.Go(func() {
			_, err := c.pods.Create(ctx, c.pod(fmt.Sprintf("p-%d", i)), metav1.CreateOptions{})
			errs <- err
		})
	}
	creators.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return 0, err
		}
	}
	const limit = 3 * time.Minute
	end := time.After(limit)
	ready := map[string]bool{}
	for len(ready) < n {
		select {
		case event, open := <-watch.ResultChan():
			if !open {
				return 0, errors.New("the watch of the pods has ended")
			}
			if p, ok := event.Object.(*corev1.Pod); ok && isReady(p) {
				ready[p.Name] = true
			}
		case <-end:
			return 0, fmt.Errorf("%d of %d pods are ready after %s", len(ready), n, limit)
		}
	}
	return time.Since(start), nil
}

func isReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// empty deletes all pods without grace and returns when the node has nothing of them any more.
func (c *crowd) empty(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	zero := int64(0)
	if err := c.pods.DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &zero}, metav1.ListOptions{}); err != nil {
		return 0, err
	}
	state := filepath.Join(filepath.Dir(sandbox.KubeconfigPath(clusterName)), "nodes", c.node)
	for time.Since(start) < time.Minute {
		left := 0
		for _, dir := range []string{"runtime/sandboxes", "network/attachments", "kubelet/pods"} {
			entries, err := os.ReadDir(filepath.Join(state, dir))
			if err != nil {
				return 0, err
			}
			left += len(entries)
		}
		if left == 0 {
			return time.Since(start), nil
		}
		if err := wait(ctx, 10*time.Millisecond); err != nil {
			return 0, err
		}
	}
	return 0, errors.New("the node is not empty a minute after its pods were deleted")
}

// pods500 measures a full node: until all answer probes, what each costs us, how long its agent takes to be there
// again after kill -9, and until all are gone.
func pods500(ctx context.Context, b *bench) error {
	const n = 500
	return b.withCrowd(ctx, 2, func(c *crowd) error {
		before, err := b.footprint()
		if err != nil {
			return err
		}
		filled, err := c.fill(ctx, n)
		if err != nil {
			return err
		}
		if err := wait(ctx, 10*time.Second); err != nil { // what only the starts needed is given back
			return err
		}
		after, err := b.footprint()
		if err != nil {
			return err
		}
		restart, err := c.restart(ctx, n-1)
		if err != nil {
			return err
		}
		emptied, err := c.empty(ctx)
		if err != nil {
			return err
		}
		report(fmt.Sprintf("Pods/n=%d", n), filled.Seconds(), "ready-s", float64(after.pss-before.pss)/n/(1<<20), "MB/pod",
			restart.Seconds(), "agent-restart-s", emptied.Seconds(), "delete-s")
		return nil
	})
}

// restart kills the agent of the crowd's node and returns how long the next one takes to serve pod number last.
func (c *crowd) restart(ctx context.Context, last int) (time.Duration, error) {
	pid, err := nodeProcess(c.node)
	if err != nil {
		return 0, err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return 0, err
	}
	start := time.Now()
	started := make(chan error, 1)
	go func() {
		_, err := c.b.sandbox(ctx, "create", clusterName)
		started <- err
	}()
	for time.Since(start) < time.Minute {
		if err := c.exec(ctx, fmt.Sprintf("p-%d", last)); err == nil {
			return time.Since(start), <-started
		}
	}
	return 0, errors.Join(errors.New("the agent does not serve after a minute"), <-started)
}

// nodeProcess finds a node's process by its data directory.
func nodeProcess(node string) (int, error) {
	want := filepath.Join(filepath.Dir(sandbox.KubeconfigPath(clusterName)), "nodes", node) + "\x00"
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range processes {
		args, _ := os.ReadFile(p)
		if strings.Contains(string(args), want) && strings.Contains(string(args), "--node-name") {
			var pid int
			_, err := fmt.Sscanf(p, "/proc/%d/", &pid)
			return pid, err
		}
	}
	return 0, fmt.Errorf("no process of %s", node)
}

func (c *crowd) exec(ctx context.Context, pod string) error {
	return exec.CommandContext(ctx, c.b.clipper, "kubectl", "--kubeconfig", c.kubeconfig, "exec", pod, "--", "true").Run()
}

// execs measures `kubectl exec POD -- true` beside a kubectl that asks nobody.
func execs(ctx context.Context, b *bench) error {
	return b.withCrowd(ctx, 1, func(c *crowd) error {
		if _, err := c.fill(ctx, 1); err != nil {
			return err
		}
		const n = 30
		var with, without [n]time.Duration
		for i := range n {
			start := time.Now()
			if err := c.exec(ctx, "p-0"); err != nil {
				return fmt.Errorf("exec: %w", err)
			}
			with[i] = time.Since(start)
			start = time.Now()
			if err := exec.CommandContext(ctx, b.clipper, "kubectl", "version", "--client").Run(); err != nil {
				return fmt.Errorf("version: %w", err)
			}
			without[i] = time.Since(start)
		}
		slices.Sort(with[:])
		slices.Sort(without[:])
		report("Exec", (with[n/2]-without[n/2]).Seconds()*1e3, "p50-ms-over-kubectl", with[n/2].Seconds()*1e3, "p50-ms")
		return nil
	})
}

// probed measures what a node with 100 idle pods costs that are probed every ten seconds, by two probes each.
func probed(ctx context.Context, b *bench) error {
	return b.withCrowd(ctx, 1, func(c *crowd) error {
		if _, err := c.fill(ctx, 100); err != nil {
			return err
		}
		at, err := b.idling(ctx, 30*time.Second)
		if err != nil {
			return err
		}
		report("Idle/pods=100/probes=200", at.core, "%-of-a-core", float64(at.pss)/(1<<20), "MB-PSS")
		return nil
	})
}
