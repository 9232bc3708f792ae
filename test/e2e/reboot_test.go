package e2e

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"clipper/sandbox"
)

// A boot is what a cluster lives in between two reboots: a mount namespace, in which the machine has a boot ID of
// its own. All mounts end with its last process.
type boot struct {
	u  *user
	id string // file with the boot ID
}

func (b boot) start() {
	b.u.t.Helper()
	const script = `mount --bind "$0" /proc/sys/kernel/random/boot_id; exec "$@"`
	args := []string{"--mount", "--propagation", "private", "sh", "-ec", script, b.id, b.u.clipper, "sandbox", "create", b.u.name}
	if out, err := exec.Command("unshare", args...).CombinedOutput(); err != nil {
		b.u.t.Fatalf("start the cluster: %v\n%s", err, out)
	}
}

// end does what a power failure does, but to the disk: processes, and with them mounts and namespaces, and the
// cgroups are gone.
func (b boot) end() {
	b.u.t.Helper()
	mark := sandboxDir(b.u.name) + "/"
	waitFor(b.u.t, "the cluster's processes to end", func() bool {
		pids := processesOf(mark, "/clipper/sandboxes/"+b.u.name+"/")
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // gone already is as good
		}
		return len(pids) == 0
	})
	roots, _ := filepath.Glob("/sys/fs/cgroup/*/clipper/sandboxes/" + b.u.name)
	for _, root := range roots {
		waitFor(b.u.t, "cgroup "+root+" to go", func() bool { return removeCgroups(root) })
	}
}

// removeCgroups removes the cgroup at root with all below and reports whether it is gone.
func removeCgroups(root string) bool {
	var dirs []string
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	slices.Reverse(dirs)
	for _, d := range dirs {
		_ = os.Remove(d) // busy for a moment after its last process
	}
	_, err := os.Stat(root)
	return os.IsNotExist(err)
}

// TestReboot: after a reboot of the machine pods come back, with what is known of the time before.
func TestReboot(t *testing.T) {
	shared := need(t)
	c := &testCluster{clipper: shared.clipper, name: shared.name + "-boots"}
	c.kubeconfig = sandbox.KubeconfigPath(c.name)
	u := c.user(t, "default")
	boots := make([]boot, 2)
	for i, id := range []string{"11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"} {
		boots[i] = boot{u, filepath.Join(t.TempDir(), id)}
		if err := os.WriteFile(boots[i].id, []byte(id+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		boots[1].end()
		u.clipperRun("sandbox", "delete", c.name)
	})
	boots[0].start()
	u.clipperRun("sandbox", "image-load", c.name, imagesDir()+"/busybox.tar")
	volume := []string{`"volumes":[{"name":"v","emptyDir":{}}]`, `"terminationGracePeriodSeconds":0`}
	const mounted = `,"volumeMounts":[{"name":"v","mountPath":"/v"}]`
	shell := func(script string) string {
		return `"name":"c","image":"busybox:1.36","command":["sh","-c","` + script + `"]` + mounted
	}
	u.pod("ended", shell("exit 3"), volume...)
	u.pod("once", shell("sleep 100000"), volume...)
	u.pod("stays", shell("date >>/v/starts; sleep 100000"), append(volume, `"restartPolicy":"Always"`)...)
	u.pod("again", shell("[ -e /v/been ] && sleep 100000; touch /v/been; exit 1"), append(volume, `"restartPolicy":"Always"`)...)
	u.phase("ended", "Failed")
	u.phase("once", "Running")
	u.phase("stays", "Running")
	const restarts = "jsonpath={.status.phase} {.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].state.running.startedAt}"
	u.eventually(time.Minute, func(out string) bool { return strings.HasPrefix(out, "Running 1 2") }, "get", "pod", "again", "-o", restarts)
	before := u.must("get", "pod", "ended", "-o", "jsonpath={.status}")

	boots[0].end()
	boots[1].start()
	const last = "{.status.containerStatuses[0].lastState.terminated.exitCode} {.status.containerStatuses[0].lastState.terminated.reason}"
	const now = "jsonpath={.status.phase} {.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready} " + last
	u.eventually(time.Minute, is("Running 1 true 255 Unknown"), "get", "pod", "stays", "-o", now)
	u.eventually(time.Minute, is("Running 2 true 255 Unknown"), "get", "pod", "again", "-o", now)
	u.eventually(time.Minute, is("Unknown 255"), "get", "pod", "once", "-o", terminated)
	u.phase("once", "Failed")
	if after := u.must("get", "pod", "ended", "-o", "jsonpath={.status}"); after != before {
		t.Errorf("a pod that had ended went from\n%s\nto\n%s", before, after)
	}
	if out := u.must("exec", "stays", "--", "wc", "-l", "/v/starts"); !strings.HasPrefix(out, "2 ") {
		t.Errorf("its volume says that it started %q", out)
	}
	u.must("delete", "pods", "--all", "--grace-period=1")
	if err := noPodTraces(c.name, 1, 30*time.Second); err != nil {
		t.Error(err)
	}
}
