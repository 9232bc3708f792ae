package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"clipper/sandbox"
)

// guardEnv makes the test binary a guard instead: it waits until the tests have ended, however they do, and then
// removes their clusters. Its value is what the clusters' names begin with.
const guardEnv = "CLIPPER_E2E_GUARD"

// startGuard starts the guard of this process's clusters.
func startGuard(prefix string) (io.Closer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), guardEnv+"="+prefix)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // what ends the tests must not end it
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	return &watched{pipe, cmd}, cmd.Start()
}

// A watched process has a guard.
type watched struct {
	pipe  io.Closer
	guard *exec.Cmd
}

// Close lets the guard do its work and waits for it.
func (w *watched) Close() error { return errors.Join(w.pipe.Close(), w.guard.Wait()) }

// guard is the other process. A panic or a time limit ends a test binary without any clean-up of its own; the
// pipe from it is then closed by the kernel.
func guard(prefix string) int {
	_, _ = io.Copy(io.Discard, os.Stdin)
	code := 0
	for _, name := range sandboxesOf(prefix) {
		fmt.Fprintf(os.Stderr, "e2e: removing cluster %s, which the tests have left\n", name)
		s, err := sandbox.Named(name)
		if err == nil {
			err = s.Delete()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			code = 1
		}
	}
	return code
}

// sandboxesOf lists the clusters whose name begins with prefix.
func sandboxesOf(prefix string) []string {
	list, err := sandbox.List()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
	}
	var out []string
	for _, s := range list {
		if strings.HasPrefix(s.Name, prefix) {
			out = append(out, s.Name)
		}
	}
	return out
}

// sandboxDir is where everything of a cluster is.
func sandboxDir(name string) string { return filepath.Dir(sandbox.KubeconfigPath(name)) }

// machineTraces lists what clusters, whose names begin with prefix, have left on the machine.
func machineTraces(prefix string) []string {
	var out []string
	mark := filepath.Join(filepath.Dir(sandboxDir("x")), prefix)
	left, _ := filepath.Glob(mark + "*")
	out = append(out, left...)
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/clipper/sandboxes/" + prefix + "*")
	unified, _ := filepath.Glob("/sys/fs/cgroup/clipper/sandboxes/" + prefix + "*")
	out = append(append(out, groups...), unified...)
	for _, m := range mountsBelow("self", mark) {
		out = append(out, "mount "+m)
	}
	for _, pid := range processesOf(mark, "/clipper/sandboxes/"+prefix) {
		args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		out = append(out, fmt.Sprintf("process %d %q", pid, args))
	}
	return out
}

// processesOf lists processes that are in a cgroup, or have an argument, in which the text occurs.
func processesOf(argument, cgroup string) []int {
	processes, _ := filepath.Glob("/proc/[0-9]*")
	var out []int
	for _, p := range processes {
		args, _ := os.ReadFile(p + "/cmdline")
		groups, _ := os.ReadFile(p + "/cgroup")
		if pid, err := strconv.Atoi(filepath.Base(p)); err == nil && (strings.Contains(string(args), argument) || strings.Contains(string(groups), cgroup)) {
			out = append(out, pid)
		}
	}
	return out
}

// mountsBelow lists mount points that begin with path, as a process sees them.
func mountsBelow(process, path string) []string {
	f, err := os.Open("/proc/" + process + "/mountinfo")
	if err != nil {
		return []string{err.Error()}
	}
	defer f.Close()
	var out []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 4 && strings.HasPrefix(fields[4], path) {
			out = append(out, fields[4])
		}
	}
	return out
}

// podTraces lists what pods have left on a node that has none any more.
func podTraces(cluster, node string) []string {
	dir := filepath.Join(sandboxDir(cluster), "nodes", node)
	agent, err := agentOf(cluster, node)
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	for _, sub := range []string{
		"network/netns", "network/attachments", "runtime/containers", "runtime/sandboxes", "runtime/libcontainer",
		"kubelet/pods", "logs/pods", "logs/containers", "memory", "images/snapshots/node",
	} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			out = append(out, err.Error())
		}
		for _, e := range entries {
			out = append(out, filepath.Join(sub, e.Name()))
		}
	}
	for _, m := range mountsBelow(strconv.Itoa(agent), dir+"/") {
		if m != filepath.Join(dir, "memory") && m != filepath.Join(dir, "kubelet") { // the node's own
			out = append(out, "mount "+m)
		}
	}
	roots, _ := filepath.Glob("/sys/fs/cgroup/*/clipper/sandboxes/" + cluster + "/" + node + "/pods")
	for _, root := range roots {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), "pod") && path != root {
				out = append(out, "cgroup "+path)
			}
			return nil
		})
	}
	return append(out, networkTraces(fmt.Sprintf("/proc/%d/ns/net", agent))...)
}

// agentOf finds a node's process by its data directory.
func agentOf(cluster, node string) (int, error) {
	want := filepath.Join(sandboxDir(cluster), "nodes", node) + "\x00"
	for _, pid := range processesOf(want, "\x00") {
		if args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && strings.Contains(string(args), "--node-name") {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("no process of %s", node)
}

// networkTraces lists devices, routes and elements of rule sets that pods have left in a node's network namespace.
func networkTraces(path string) []string {
	var out []string
	fail := func(err error) []string { return append(out, "look into "+path+": "+err.Error()) }
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return fail(err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return fail(err)
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		return fail(err)
	}
	for _, l := range links {
		if name := l.Attrs().Name; strings.HasPrefix(name, "clip0") && name != "clip0" {
			out = append(out, "device "+name)
		}
	}
	conn, err := nftables.New(nftables.WithNetNSFd(int(ns)))
	if err != nil {
		return fail(err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: "clipper-network"}
	for _, name := range []string{"host-ports", "host-ip-ports", "hairpin"} {
		set, err := conn.GetSetByName(table, name)
		if err != nil {
			return fail(err)
		}
		elements, err := conn.GetSetElements(set)
		if err != nil {
			return fail(err)
		}
		for _, e := range elements {
			out = append(out, fmt.Sprintf("element %x of set %s", e.Key, name))
		}
	}
	return out
}

// noPodTraces waits until nothing of pods is left on the nodes; what is left then is a leak.
func noPodTraces(cluster string, nodes int, limit time.Duration) error {
	var left []string
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		left = nil
		for i := 1; i <= nodes; i++ {
			node := fmt.Sprintf("node-%d", i)
			for _, trace := range podTraces(cluster, node) {
				left = append(left, node+": "+trace)
			}
		}
		if len(left) == 0 {
			return nil
		}
	}
	slices.Sort(left)
	return fmt.Errorf("%d traces of pods are left:\n%s", len(left), strings.Join(left, "\n"))
}

// TestTraces: what a pod is made of is seen while it runs, or else looking for leaks would find nothing ever.
func TestTraces(t *testing.T) {
	u := newUser(t)
	u.must("run", "web", "--image=busybox:1.36", "--port=80", "--overrides", `{"spec":{"terminationGracePeriodSeconds":0,
		"containers":[{"name":"web","image":"busybox:1.36","command":["sleep","1000"],"ports":[{"containerPort":80,"hostPort":8099}]}]}}`)
	u.phase("web", "Running")
	node := u.must("get", "pod", "web", "-o", "jsonpath={.spec.nodeName}")
	uid := u.must("get", "pod", "web", "-o", "jsonpath={.metadata.uid}")
	seen := strings.Join(podTraces(u.name, node), "\n")
	for _, want := range []string{
		"network/netns/" + uid, "network/attachments/" + uid, "runtime/sandboxes/" + uid, "runtime/containers/", "runtime/libcontainer/",
		"kubelet/pods/" + uid, "logs/pods/", "images/snapshots/node/", "mount ", "cgroup ", uid, "device clip0", "of set host-ports", "of set hairpin",
	} {
		if !strings.Contains(seen, want) {
			t.Errorf("no %s among\n%s", want, seen)
		}
	}
}
