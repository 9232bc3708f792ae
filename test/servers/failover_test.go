package servers

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const namespaceEnv = "CLIPPER_TEST_NETNS" // set in a process that has a network of its own

// inNetwork runs a test in a network namespace of its own, where the loopback interface has addresses that do not look
// like it, as the API wants of servers. It returns false in the process that has only started the other.
func inNetwork(t *testing.T, addresses ...string) bool {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, for a network namespace")
	}
	if os.Getenv(namespaceEnv) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=5m")
		cmd.Env = append(os.Environ(), namespaceEnv+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Error(err)
		}
		return false
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	for _, a := range addresses {
		host := &net.IPNet{IP: net.ParseIP(a), Mask: net.CIDRMask(32, 32)}
		if err == nil {
			err = netlink.AddrAdd(lo, &netlink.Addr{IPNet: host})
		}
		if err == nil {
			// Whoever calls an address of the same machine calls from that one, which etcd compares with the
			// caller's certificate: all have 127.0.0.1 in theirs.
			err = netlink.RouteReplace(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: host, Src: net.IPv4(127, 0, 0, 1),
				Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST})
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}

// endpoints are the addresses behind the kubernetes service.
func endpoints(ctx context.Context, c *kubernetes.Clientset) (string, error) {
	slices, err := c.DiscoveryV1().EndpointSlices("default").List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=kubernetes"})
	if err != nil {
		return "", err
	}
	var out []string
	for _, s := range slices.Items {
		for _, e := range s.Endpoints {
			out = append(out, e.Addresses...)
		}
	}
	return strings.Join(out, " "), nil
}

func awaitEndpoints(t *testing.T, c *kubernetes.Clientset, want string) {
	t.Helper()
	retry(t, "see the endpoints "+want, func(ctx context.Context) error {
		got, err := endpoints(ctx, c)
		if err == nil && got != want {
			err = fmt.Errorf("they are %s", got)
		}
		return err
	})
}

// writing writes without a pause until stopped, and returns how long the slowest write took.
func writing(ctx context.Context, c *kubernetes.Clientset) (slowest func() time.Duration) {
	var most time.Duration
	var done sync.WaitGroup
	ctx, stop := context.WithCancel(ctx)
	done.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			begun := time.Now()
			_, err := c.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "w-"}}, metav1.CreateOptions{})
			if took := time.Since(begun); err == nil || ctx.Err() == nil {
				most = max(most, took)
			}
		}
	})
	return func() time.Duration { stop(); done.Wait(); return most }
}

// TestFailover kills the first of three servers, which leads etcd and runs the controllers, and measures what the
// others' clients notice.
func TestFailover(t *testing.T) {
	if !inNetwork(t, "10.99.0.1", "10.99.0.2", "10.99.0.3") {
		return
	}
	first := newServer(t, "s1", "10.99.0.1", "--cluster-init")
	first.clients()
	token := strings.TrimSpace(run(t, "token", "create", "--server", "--data-dir", first.dir))
	second := newServer(t, "s2", "10.99.0.2", "--join", "https://"+first.addr, "--token", token)
	c := second.clients()
	third := newServer(t, "s3", "10.99.0.3", "--join", "https://"+first.addr, "--token", token)
	third.clients()
	awaitEndpoints(t, c, "10.99.0.1 10.99.0.2 10.99.0.3")

	slowest := writing(t.Context(), c)
	time.Sleep(time.Second) // of writes before the loss
	first.kill()
	lost := time.Now()
	retry(t, "write", func(ctx context.Context) error {
		_, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "after"}}, metav1.CreateOptions{})
		return err
	})
	retry(t, "have the controllers work", func(ctx context.Context) error {
		_, err := c.CoreV1().ServiceAccounts("after").Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	took := time.Since(lost)
	t.Logf("controllers work after %v", took)
	if took > 18*time.Second { // a lease's 15 seconds from its last renewal, and room for a busy machine
		t.Errorf("the controllers needed %v", took)
	}
	write := slowest()
	t.Logf("the slowest write took %v", write)
	if write > 6*time.Second { // etcd itself gives up after 7
		t.Errorf("a write took %v", write)
	}
	awaitEndpoints(t, c, "10.99.0.2 10.99.0.3")
	t.Logf("its address is gone after %v", time.Since(lost))

	first.start()
	first.clients()
	awaitEndpoints(t, c, "10.99.0.1 10.99.0.2 10.99.0.3")
}
