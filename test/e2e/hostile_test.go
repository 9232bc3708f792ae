package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"
)

// podPIDs is how many processes a pod may have on the node of TestHostile.
const podPIDs = 60

// TestHostile runs pods that do to their node what pods should not. Each gets what it has deserved, and a neighbour
// notices nothing; the node answers within the time that it always takes, and nothing of them stays.
func TestHostile(t *testing.T) {
	config := filepath.Join(t.TempDir(), "kubelet.yaml")
	text := fmt.Sprintf("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\npodPidsLimit: %d\n", podPIDs)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	u := ownCluster(t, 1, "--kubelet-config", config)
	u.must("run", "neighbour", "--image=busybox:1.36", "--", "sleep", "100000")
	u.phase("neighbour", "Running")
	const identity = "jsonpath={.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}"
	before := u.must("get", "pod", "neighbour", "-o", identity)
	for _, part := range []struct {
		name string
		test func(*user)
	}{
		{"fork bomb", testForkBomb}, {"memory", testEatsMemory}, {"log flood", testLogFlood}, {"many execs", testManyExecs},
		{"big exec", testBigExec}, {"zombies", testZombies}, {"deaf", testIgnoresTerm}, {"hung mount", testHungMount}, {"broken entry points", testBrokenEntryPoints},
	} {
		t.Run(part.name, func(t *testing.T) {
			of := *u
			of.t = t
			part.test(&of)
			start := time.Now()
			if out := of.must("exec", "neighbour", "--", "echo", "well"); out != "well\n" {
				t.Errorf("the neighbour says %q", out)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("the neighbour took %s to answer", took)
			}
			if after := of.must("get", "pod", "neighbour", "-o", identity); after != before {
				t.Errorf("the neighbour went from %s to %s", before, after)
			}
		})
	}
	u.must("delete", "pods", "--all", "--grace-period=1")
	if err := noPodTraces(u.name, 1, 30*time.Second); err != nil {
		t.Error(err)
	}
}

// runs starts a pod of one shell script.
func (u *user) runs(name, script string, fields ...string) {
	u.t.Helper()
	container := append([]string{fmt.Sprintf(`"name":"c","image":"busybox:1.36","command":["sh","-c",%s]`, strconv.Quote(script))}, fields...)
	u.pod(name, strings.Join(container, ","), `"terminationGracePeriodSeconds":0`)
}

// pod creates a pod of a container and further fields of its spec. It is not restarted if they do not say so.
func (u *user) pod(name, container string, fields ...string) {
	u.t.Helper()
	spec := append([]string{`"containers":[{` + container + `}]`}, fields...)
	if !strings.Contains(strings.Join(fields, ""), "restartPolicy") {
		spec = append(spec, `"restartPolicy":"Never"`)
	}
	manifest := fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":%q},"spec":{%s}}`, name, strings.Join(spec, ","))
	if r := u.feed(manifest, "apply", "-f", "-"); r.code != 0 {
		u.t.Fatal(r.both())
	}
}

// removed deletes a pod and waits until nothing of it is left on the node.
func (u *user) removed(name string) {
	u.t.Helper()
	uid := u.must("get", "pod", name, "-o", "jsonpath={.metadata.uid}")
	u.must("delete", "pod", name, "--grace-period=0", "--force")
	waitFor(u.t, "everything of pod "+name+" to go", func() bool {
		return !strings.Contains(strings.Join(podTraces(u.name, "node-1"), "\n"), uid)
	})
}

const terminated = `jsonpath={.status.containerStatuses[0].state.terminated.reason} {.status.containerStatuses[0].state.terminated.exitCode}`

func testForkBomb(u *user) {
	u.runs("bomb", "bomb() { bomb | bomb & }; bomb; sleep 100000")
	u.phase("bomb", "Running")
	uid := u.must("get", "pod", "bomb", "-o", "jsonpath={.metadata.uid}")
	groups, err := filepath.Glob("/sys/fs/cgroup/pids/clipper/sandboxes/" + u.name + "/node-1/pods/besteffort/pod" + uid)
	if err != nil || len(groups) != 1 {
		u.t.Skipf("no pids cgroup of version 1 to look at: %v, %v", groups, err)
	}
	waitFor(u.t, "the bomb to reach its limit", func() bool {
		files, _ := filepath.Glob(groups[0] + "/*/pids.events") // where the refused call was made
		for _, f := range append(files, groups[0]+"/pids.events") {
			if events, err := os.ReadFile(f); err == nil && len(events) > 0 && !bytes.Contains(events, []byte("max 0\n")) {
				return true
			}
		}
		return false
	})
	if most, err := os.ReadFile(groups[0] + "/pids.max"); err != nil || strings.TrimSpace(string(most)) != strconv.Itoa(podPIDs) {
		u.t.Errorf("the limit is %s, %v", most, err)
	}
	u.removed("bomb")
}

func testEatsMemory(u *user) {
	u.runs("eater", "tail /dev/zero", `"resources":{"limits":{"memory":"32Mi"}}`)
	u.eventually(time.Minute, is("OOMKilled 137"), "get", "pod", "eater", "-o", terminated)
	u.removed("eater")
}

func testLogFlood(u *user) {
	u.runs("flood", "yes | head -c 150000000")
	u.phase("flood", "Running")
	if out := u.must("logs", "flood", "--tail=1"); out != "y\n" {
		u.t.Errorf("the last line is %q", out)
	}
	u.phase("flood", "Succeeded")
	u.removed("flood")
}

// testManyExecs has more commands run at the same time than the shim starts at once.
func testManyExecs(u *user) {
	config, err := clientcmd.BuildConfigFromFlags("", u.kubeconfig)
	if err != nil {
		u.t.Fatal(err)
	}
	config.QPS, config.Burst = -1, -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		u.t.Fatal(err)
	}
	u.runs("busy", "sleep 100000")
	u.phase("busy", "Running")
	// As many as the pod may have processes beside its own, several times over: those that find no room fail.
	const commands = 400
	var all sync.WaitGroup
	var mu sync.Mutex
	ran := 0
	for i := range commands {
		all.Go(func() {
			req := client.CoreV1().RESTClient().Post().Resource("pods").Namespace(u.namespace).Name("neighbour").SubResource("exec").
				VersionedParams(&corev1.PodExecOptions{Command: []string{"echo", strconv.Itoa(i)}, Stdout: true}, scheme.ParameterCodec)
			run, err := remotecommand.NewWebSocketExecutor(config, "GET", req.URL().String())
			if err != nil {
				u.t.Error(err)
				return
			}
			ctx, cancel := context.WithTimeout(u.t.Context(), time.Minute)
			defer cancel()
			var out bytes.Buffer
			err = run.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && out.String() == strconv.Itoa(i)+"\n":
				ran++
			case err == nil:
				u.t.Errorf("command %d says %q", i, out.String())
			}
		})
	}
	all.Wait()
	if ran < commands/2 {
		u.t.Errorf("%d of %d commands ran", ran, commands)
	}
	u.removed("busy")
}

func testBigExec(u *user) {
	data := make([]byte, 32<<20)
	_, _ = rand.Read(data) // never fails
	ctx, cancel := context.WithTimeout(u.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, u.clipper, "kubectl", "--kubeconfig", u.kubeconfig, "exec", "-i", "neighbour", "--", "cat")
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil || !bytes.Equal(out, data) {
		u.t.Errorf("of %d bytes %d came back, or others: %v", len(data), len(out), err)
	}
}

func testZombies(u *user) {
	u.runs("zombies", "for i in $(seq 1 40); do (sleep 1 &); done; exec sleep 100000")
	u.eventually(time.Minute, is("40"), "exec", "zombies", "--", "sh", "-c", "grep -l 'State:.Z' /proc/[0-9]*/status | wc -l")
	u.removed("zombies")
}

func testIgnoresTerm(u *user) {
	u.pod("deaf", `"name":"c","image":"busybox:1.36","command":["sh","-c","trap '' TERM; while :; do sleep 1; done"]`, `"terminationGracePeriodSeconds":2`)
	u.phase("deaf", "Running")
	start := time.Now()
	u.must("delete", "pod", "deaf")
	if took := time.Since(start); took < 2*time.Second || took > 8*time.Second {
		u.t.Errorf("it was gone after %s, with two seconds of grace", took)
	}
}

// testHungMount has a container write to a file system that hangs: nothing can end it until that does.
func testHungMount(u *user) {
	dir := filepath.Join(u.t.TempDir(), "disk")
	image := filepath.Join(filepath.Dir(dir), "image")
	shell := func(script string) error {
		out, err := exec.Command("sh", "-ec", script, "sh", image, dir).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%s: %w: %s", script, err, out)
		}
		return err
	}
	if err := shell(`mkdir "$2"; truncate -s 16M "$1"; mkfs.ext4 -q "$1"; mount -o loop "$1" "$2"`); err != nil {
		u.t.Skip("no file system to hang:", err)
	}
	u.t.Cleanup(func() {
		if err := shell(`umount "$2"`); err != nil {
			u.t.Error(err)
		}
	})
	u.pod("hung", `"name":"c","image":"busybox:1.36","command":["sh","-c","while :; do date >/disk/now; sleep 0.05; done"],"volumeMounts":[{"name":"disk","mountPath":"/disk"}]`,
		`"terminationGracePeriodSeconds":1`, fmt.Sprintf(`"volumes":[{"name":"disk","hostPath":{"path":%q}}]`, dir))
	u.phase("hung", "Running")
	uid := u.must("get", "pod", "hung", "-o", "jsonpath={.metadata.uid}")
	waitFor(u.t, "its first write", func() bool {
		data, err := os.ReadFile(dir + "/now")
		return err == nil && len(data) > 0
	})
	if err := shell(`fsfreeze -f "$2"`); err != nil {
		u.t.Skip("cannot freeze a file system:", err)
	}
	frozen := true
	thaw := func() {
		if frozen {
			frozen = false
			if err := shell(`fsfreeze -u "$2"`); err != nil {
				u.t.Error(err)
			}
		}
	}
	defer thaw()
	u.must("delete", "pod", "hung", "--wait=false")
	time.Sleep(3 * time.Second) // longer than its grace
	if out := u.must("exec", "neighbour", "--", "echo", "well"); out != "well\n" {
		u.t.Errorf("the neighbour says %q", out)
	}
	u.must("get", "pod", "hung") // not gone, while its process is not
	u.runs("newcomer", "exit 0")
	u.phase("newcomer", "Succeeded")
	thaw()
	u.eventually(time.Minute, func(out string) bool { return !strings.Contains(out, "hung") }, "get", "pods", "-o", "name")
	waitFor(u.t, "everything of the pod to go", func() bool {
		return !strings.Contains(strings.Join(podTraces(u.name, "node-1"), "\n"), uid)
	})
}

func testBrokenEntryPoints(u *user) {
	for name, command := range map[string]string{"missing": `"/nowhere"`, "directory": `"/etc"`, "no-program": `"/etc/passwd"`, "no-interpreter": `"/tmp/x"`} {
		u.pod(name, `"name":"c","image":"busybox:1.36","command":[`+command+`]`)
	}
	for _, name := range []string{"missing", "directory", "no-program", "no-interpreter"} {
		u.eventually(time.Minute, is("StartError 128"), "get", "pod", name, "-o", terminated)
		u.removed(name)
	}
}
