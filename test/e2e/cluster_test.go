// Package e2e starts the real binary as a local cluster of two nodes and does to it what users do, with
// kubectl. Everything lives in network namespaces that the cluster makes and removes again; the tests
// need root and the images that test/images builds.
package e2e

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"clipper/sandbox"
)

var (
	clipperFlag = flag.String("clipper", "", "the binary under test; default: bin/clipper of this tree. Without it the tests are skipped")
	imagesFlag  = flag.String("images", "", "directory of image archives; default: .cache/images of this tree")
	keepFlag    = flag.Bool("keep", false, "leave the cluster running at the end")
)

// A testCluster is the one local cluster that all tests of this package share. Each test works in a
// namespace of its own.
type testCluster struct {
	clipper    string
	name       string
	kubeconfig string
}

var cluster *testCluster

// clusterNodes is how many nodes it has.
const clusterNodes = 2

func TestMain(m *testing.M) {
	if prefix := os.Getenv(guardEnv); prefix != "" {
		os.Exit(guard(prefix))
	}
	flag.Parse()
	os.Exit(run(m))
}

// clusterPrefix begins the names of all clusters of this process.
func clusterPrefix() string { return fmt.Sprintf("e2e-%d", os.Getpid()) }

func run(m *testing.M) int {
	if *keepFlag {
		return runTests(m)
	}
	watched, err := startGuard(clusterPrefix())
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e: start the guard:", err)
		return 1
	}
	code := runTests(m)
	if err := watched.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: the guard:", err)
		code = 1
	}
	left := machineTraces(clusterPrefix())
	for end := time.Now().Add(5 * time.Second); len(left) > 0 && time.Now().Before(end); left = machineTraces(clusterPrefix()) {
		time.Sleep(50 * time.Millisecond) // what was killed takes a moment
	}
	if len(left) > 0 {
		fmt.Fprintf(os.Stderr, "e2e: left on the machine:\n%s\n", strings.Join(left, "\n"))
		code = 1
	}
	return code
}

func runTests(m *testing.M) int {
	c, err := start()
	switch {
	case errors.Is(err, errSkip):
		fmt.Println("e2e:", err)
		return m.Run() // every test skips, so that the reason shows
	case err != nil:
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	cluster = c
	code := m.Run()
	if !*keepFlag {
		if err := c.checkPodTraces(); err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			code = 1
		}
		if out, err := exec.Command(c.clipper, "sandbox", "delete", c.name).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "e2e: delete the cluster: %v\n%s", err, out)
			code = 1
		}
	}
	return code
}

// checkPodTraces deletes what the tests' namespaces still hold and looks for what it leaves on the nodes.
func (c *testCluster) checkPodTraces() error {
	args := []string{"kubectl", "--kubeconfig", c.kubeconfig, "delete", "namespaces,deployments,daemonsets,statefulsets,replicasets,jobs,cronjobs",
		"--all", "--all-namespaces", "--wait=false", "--ignore-not-found"}
	if out, err := exec.Command(c.clipper, args...).CombinedOutput(); err != nil && !strings.Contains(string(out), "orbidden") {
		return fmt.Errorf("delete what the tests have made: %w\n%s", err, out) // the cluster's own namespaces refuse
	}
	pods := []string{"kubectl", "--kubeconfig", c.kubeconfig, "delete", "pods", "--all", "--all-namespaces", "--grace-period=1", "--wait=false"}
	if out, err := exec.Command(c.clipper, pods...).CombinedOutput(); err != nil {
		return fmt.Errorf("delete what pods the tests have left: %w\n%s", err, out)
	}
	return noPodTraces(c.name, clusterNodes, time.Minute)
}

var errSkip = errors.New("skipped")

func start() (*testCluster, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return nil, err
	}
	c := &testCluster{clipper: *clipperFlag, name: clusterPrefix()}
	if c.clipper == "" {
		c.clipper = filepath.Join(root, "bin/clipper")
	}
	if _, err := os.Stat(c.clipper); err != nil {
		return nil, fmt.Errorf("%w: no binary at %s; run make build", errSkip, c.clipper)
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: needs root", errSkip)
	}
	archives, err := filepath.Glob(filepath.Join(imagesDir(), "*.tar"))
	if err != nil || len(archives) == 0 {
		return nil, fmt.Errorf("%w: no image archives in %s; run test/run, which builds them", errSkip, imagesDir())
	}
	for _, args := range [][]string{
		{"sandbox", "create", c.name, "--nodes", strconv.Itoa(clusterNodes)},
		append([]string{"sandbox", "image-load", c.name}, archives...),
	} {
		if out, err := exec.Command(c.clipper, args...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("clipper %s: %w\n%s", strings.Join(args[:2], " "), err, out)
		}
	}
	c.kubeconfig = sandbox.KubeconfigPath(c.name)
	return c, nil
}

func imagesDir() string {
	if *imagesFlag != "" {
		return *imagesFlag
	}
	return filepath.Join("..", "..", ".cache", "images")
}

// need returns the cluster, or skips the test.
func need(t *testing.T) *testCluster {
	t.Helper()
	if cluster == nil {
		t.Skip("no cluster: build the binary and the images first (test/run does)")
	}
	return cluster
}

// A user is someone with kubectl in a namespace.
type user struct {
	*testCluster
	t         *testing.T
	namespace string
	kubectl   []string // the program, with its first arguments
}

// user returns someone with the built-in kubectl.
func (c *testCluster) user(t *testing.T, namespace string) *user {
	return &user{testCluster: c, t: t, namespace: namespace, kubectl: []string{c.clipper, "kubectl"}}
}

// newUser makes a namespace named after the test, which goes away with it.
func newUser(t *testing.T) *user {
	t.Helper()
	u := need(t).user(t, strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name())))
	u.must("create", "namespace", u.namespace)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(u.try("get", "events", "--sort-by=.lastTimestamp").both())
			t.Log(u.try("describe", "pods").both())
		}
		u.try("delete", "namespace", u.namespace, "--wait=false")
	})
	return u
}

// A result is what a command left behind.
type result struct {
	out, err string
	code     int
}

func (r result) both() string { return r.out + r.err }

// try runs kubectl in the user's namespace.
func (u *user) try(args ...string) result { return u.feed("", args...) }

// feed runs kubectl with standard input.
func (u *user) feed(stdin string, args ...string) result {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	args = slices.Concat(u.kubectl[1:], []string{"--kubeconfig", u.kubeconfig, "--namespace", u.namespace}, args)
	return runCommand(ctx, stdin, u.kubectl[0], args...)
}

func runCommand(ctx context.Context, stdin, program string, args ...string) result {
	cmd := exec.CommandContext(ctx, program, args...)
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errOut
	err := cmd.Run()
	r := result{out: out.String(), err: errOut.String(), code: cmd.ProcessState.ExitCode()}
	if err != nil && r.code == 0 {
		r.code, r.err = -1, r.err+err.Error()
	}
	return r
}

// must runs kubectl and returns its output; failure ends the test.
func (u *user) must(args ...string) string {
	u.t.Helper()
	r := u.try(args...)
	if r.code != 0 {
		u.t.Fatalf("kubectl %s: exit code %d\n%s", strings.Join(args, " "), r.code, r.both())
	}
	return r.out
}

// refused runs kubectl, which must fail and say all of want.
func (u *user) refused(want []string, args ...string) {
	u.t.Helper()
	r := u.try(args...)
	if r.code == 0 {
		u.t.Errorf("kubectl %s: succeeded, want a refusal\n%s", strings.Join(args, " "), r.both())
	}
	for _, w := range want {
		if !strings.Contains(r.both(), w) {
			u.t.Errorf("kubectl %s: got %q, want it to say %q", strings.Join(args, " "), r.both(), w)
		}
	}
}

// eventually runs kubectl until its output satisfies ok.
func (u *user) eventually(limit time.Duration, ok func(out string) bool, args ...string) string {
	u.t.Helper()
	var r result
	for end := time.Now().Add(limit); ; time.Sleep(100 * time.Millisecond) {
		if r = u.try(args...); r.code == 0 && ok(r.out) {
			return r.out
		}
		if time.Now().After(end) {
			u.t.Fatalf("kubectl %s: not as wanted after %s:\n%s", strings.Join(args, " "), limit, r.both())
		}
	}
}

// says is an eventually condition.
func says(want string) func(string) bool {
	return func(out string) bool { return strings.Contains(out, want) }
}

// is is an eventually condition.
func is(want string) func(string) bool {
	return func(out string) bool { return strings.TrimSpace(out) == want }
}

// phase waits for a pod's phase.
func (u *user) phase(pod, want string) {
	u.t.Helper()
	u.eventually(time.Minute, is(want), "get", "pod", pod, "-o", "jsonpath={.status.phase}")
}

// inside runs a command of this machine in a network namespace that reaches nodes, pods and services.
func (u *user) inside(args ...string) result {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return runCommand(ctx, "", u.clipper, append([]string{"sandbox", "exec", u.name, "--"}, args...)...)
}

// answers waits until an address answers, from where nodes, pods and services are reachable.
func (u *user) answers(url, want string) {
	u.t.Helper()
	var r result
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if r = u.inside("curl", "-s", "--max-time", "2", url); r.code == 0 && strings.Contains(r.out, want) {
			return
		}
	}
	u.t.Errorf("%s answers %q (curl's exit code %d), want %q", url, r.both(), r.code, want)
}
