// Package etcdtest starts etcd clusters for tests: each member a process of its own, which a test may kill. The
// processes are the test binary itself, so that nothing needs to be installed.
package etcdtest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"clipper/store/log/etcd/member"
)

const configEnv = "CLIPPER_ETCDTEST_MEMBER" // holds the configuration of the member that the process is to be

// Main runs the tests, or is a member for those of another process. A package whose tests use Start calls it
// from TestMain.
func Main(m *testing.M) {
	Serve()
	os.Exit(m.Run())
}

// Serve never returns in a process that Start started, and at once in any other.
func Serve() {
	text := os.Getenv(configEnv)
	if text == "" {
		return
	}
	if err := serve(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve(text string) error {
	var c member.Config
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	fmt.Println("starting")
	m, err := member.Start(context.Background(), c)
	if err != nil {
		return err
	}
	return m.Run(context.Background())
}

// A Cluster is a running etcd cluster.
type Cluster struct {
	t       testing.TB
	members []*process
}

type process struct {
	config member.Config
	cmd    *exec.Cmd
}

// Start runs a cluster of n members, which ends with the test.
func Start(t testing.TB, n int) *Cluster { return StartLimited(t, n, 0) }

// StartLimited is Start with members whose databases have at most quota bytes; 0: etcd's default.
func StartLimited(t testing.TB, n int, quota int64) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	dir, peers := t.TempDir(), map[string]string{}
	for i := range n {
		config := member.Config{
			Name: fmt.Sprintf("m%d", i), Host: "127.0.0.1", Peers: peers, Quota: quota,
			ClientPort: freePort(t), PeerPort: freePort(t),
		}
		config.Dir = filepath.Join(dir, config.Name)
		peers[config.Name] = config.PeerURL()
		c.members = append(c.members, &process{config: config})
	}
	t.Cleanup(func() {
		for i := range c.members {
			c.Kill(i)
		}
	})
	for i := range n {
		c.Restart(i)
	}
	c.await()
	return c
}

// freePort returns a port that was free a moment ago.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// Endpoints are the members' client URLs.
func (c *Cluster) Endpoints() []string {
	var out []string
	for _, m := range c.members {
		out = append(out, m.config.ClientURL())
	}
	return out
}

// Client returns a client of the cluster, closed with the test.
func (c *Cluster) Client() *clientv3.Client {
	c.t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: c.Endpoints(), Logger: zap.NewNop()})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { client.Close() })
	return client
}

// Kill ends a member with SIGKILL, if it runs.
func (c *Cluster) Kill(i int) { c.signalAndWait(i, syscall.SIGKILL) }

func (c *Cluster) signalAndWait(i int, s syscall.Signal) {
	m := c.members[i]
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Signal(s)
	_ = m.cmd.Wait() // it was killed: that is what the error says
	m.cmd = nil
}

// Restart starts a member that does not run.
func (c *Cluster) Restart(i int) {
	c.t.Helper()
	m := c.members[i]
	text, err := json.Marshal(m.config)
	if err != nil {
		c.t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	m.cmd = exec.Command(exe)
	m.cmd.Env = append(os.Environ(), configEnv+"="+string(text))
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := m.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		c.t.Fatalf("etcd member %s did not start: %v", m.config.Name, err)
	}
}

// await returns when the cluster answers.
func (c *Cluster) await() {
	c.t.Helper()
	client := c.Client()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	for {
		try, done := context.WithTimeout(ctx, time.Second)
		_, err := client.Get(try, "health")
		done()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			c.t.Fatalf("etcd does not answer: %v", err)
		}
		time.Sleep(10 * time.Millisecond) // it is another process: there is nothing to wait on
	}
}
