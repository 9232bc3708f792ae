// Package servers tests whole servers, each a process that may be killed, alone or several on one etcd.
package servers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"clipper/cli"
	"clipper/store/log/etcd/etcdtest"
)

const argsEnv = "CLIPPER_TEST_ARGS" // the command line of the process that this one is to be

func TestMain(m *testing.M) {
	if text := os.Getenv(argsEnv); text != "" {
		var args []string
		if err := json.Unmarshal([]byte(text), &args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		os.Exit(cli.Main(args))
	}
	etcdtest.Main(m)
}

func command(args ...string) *exec.Cmd {
	text, err := json.Marshal(args)
	if err != nil {
		panic(err) // strings always have a JSON form
	}
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), argsEnv+"="+string(text))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// A server is a process that a test may kill and start again on its data directory.
type server struct {
	t    *testing.T
	name string
	dir  string
	host string
	addr string
	args []string

	mu  sync.Mutex
	cmd *exec.Cmd
	log *os.File
}

// newServer starts a control plane without a node on an address of the loopback interface.
func newServer(t *testing.T, name, host string, args ...string) *server {
	t.Helper()
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, name: name, dir: filepath.Join(t.TempDir(), name), host: host, addr: l.Addr().String(), args: args}
	l.Close()
	if s.log, err = os.Create(filepath.Join(t.TempDir(), name+".log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			text, _ := os.ReadFile(s.log.Name())
			t.Logf("log of %s:\n%s", name, telling(text))
		}
		s.log.Close()
	})
	s.start()
	return s
}

// telling is the part of a log that says most: where the process crashed, or its end.
func telling(text []byte) []byte {
	const enough = 4000
	if crash := bytes.Index(text, []byte("\ngoroutine ")); crash >= 0 {
		from := max(0, crash-enough/2)
		return text[from:min(len(text), from+enough)]
	}
	return text[max(0, len(text)-enough):]
}

func (s *server) start() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cmd = command(append([]string{"server", "--disable-agent", "--data-dir", s.dir, "--listen", s.addr,
		"--node-ip", s.host, "--node-name", s.name}, s.args...)...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Error(err)
	}
}

// kill ends the server with SIGKILL, if it runs.
func (s *server) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait() // killed: that is what the error says
	s.cmd = nil
}

// config returns how an administrator reaches the server, once it is ready.
func (s *server) config() *rest.Config {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 90*time.Second)
	defer cancel()
	var last error
	for {
		c, err := clientcmd.BuildConfigFromFlags("", filepath.Join(s.dir, "admin.kubeconfig"))
		if err == nil {
			c.QPS, c.Timeout = -1, 10*time.Second
			var clients *kubernetes.Clientset
			if clients, err = kubernetes.NewForConfig(c); err == nil {
				if _, err = clients.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); err == nil {
					return c
				}
			}
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-time.After(50 * time.Millisecond): // it is another process: there is nothing to wait on
		case <-ctx.Done():
			s.t.Fatalf("server %s is not ready: %v", s.name, last)
		}
	}
}

func (s *server) clients() *kubernetes.Clientset {
	s.t.Helper()
	clients, err := kubernetes.NewForConfig(s.config())
	if err != nil {
		s.t.Fatal(err)
	}
	return clients
}

// run runs another command of the binary and returns what it prints.
func run(t *testing.T, args ...string) string {
	t.Helper()
	cmd := command(args...)
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan []byte, 1)
	go func() {
		text, _ := io.ReadAll(errs)
		said <- text
	}()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, <-said)
	}
	return string(out)
}
