package clients

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

var clipperFlag = flag.String("clipper", "", "the binary under test; default: bin/clipper of the tree. Without it the tests are skipped")

// kubeconfig is that of the server that all tests share; "" if there is none.
var kubeconfig string

func TestMain(m *testing.M) {
	if os.Getenv(asHelm) != "" {
		os.Exit(beHelm())
	}
	flag.Parse()
	os.Exit(run(m))
}

// run starts a server without a node on the loopback interface and runs the tests.
func run(m *testing.M) int {
	binary := binary()
	if _, err := os.Stat(binary); err != nil {
		fmt.Printf("clients: no binary at %s; run make build\n", binary)
		return m.Run() // every test skips, so that the reason shows
	}
	dir, err := os.MkdirTemp("", "clients")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	stop, err := serve(binary, dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "clients:", err)
		return 1
	}
	defer stop()
	return m.Run()
}

func binary() string {
	if *clipperFlag != "" {
		return *clipperFlag
	}
	return filepath.Join("..", "..", "bin", "clipper")
}

func serve(binary, dir string) (stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := l.Addr().String()
	l.Close()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, "server", "--disable-agent", "--data-dir", filepath.Join(dir, "data"), "--listen", address)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait() // its exit code is not what is tested
	}
	config := filepath.Join(dir, "data", "admin.kubeconfig")
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err = ready(config); err == nil {
			kubeconfig = config
			return stop, nil
		}
		if time.Now().After(deadline) {
			stop()
			text, _ := os.ReadFile(log.Name())
			return nil, fmt.Errorf("the server does not become ready: %w\n%s", err, text)
		}
	}
}

func ready(config string) error {
	c, err := clientcmd.BuildConfigFromFlags("", config)
	if err != nil {
		return err
	}
	d, err := discovery.NewDiscoveryClientForConfig(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return d.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}

// admin returns the administrator's configuration, or skips the test.
func admin(t *testing.T) *rest.Config {
	t.Helper()
	if kubeconfig == "" {
		t.Skip("no server: build the binary first")
	}
	c, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// command runs a program and returns what it printed; a failure ends the test.
func command(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := attempt(program, args...)
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", filepath.Base(program), args, err, out)
	}
	return out
}

func attempt(program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = errors.Join(err, ctx.Err())
	}
	return string(out), err
}
