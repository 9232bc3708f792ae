package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// A server is a control plane without a node, on loopback.
type server struct {
	cmd        *exec.Cmd
	kubeconfig string
}

// startServer starts a control plane on a new data directory and returns once /readyz is 200.
func (b *bench) startServer(ctx context.Context) (*server, time.Duration, error) {
	dir, err := os.MkdirTemp(b.dir, "server-")
	if err != nil {
		return nil, 0, err
	}
	return b.startServerIn(ctx, dir)
}

// startServerIn starts one on the data that is in dir, or that it will make there.
func (b *bench) startServerIn(ctx context.Context, dir string) (*server, time.Duration, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, 0, err
	}
	address := l.Addr().String()
	l.Close()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, 0, err
	}
	defer log.Close()
	s := &server{kubeconfig: filepath.Join(dir, "data", "admin.kubeconfig")}
	s.cmd = exec.CommandContext(ctx, b.clipper, "server", "--disable-agent", "--data-dir", filepath.Join(dir, "data"), "--listen", address, "--node-ip", "127.0.0.1")
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) }
	start := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, 0, err
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, Timeout: time.Second}
	defer client.CloseIdleConnections()
	for time.Since(start) < 20*time.Second {
		if r, err := client.Get("https://" + address + "/readyz"); err == nil {
			io.Copy(io.Discard, r.Body)
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return s, time.Since(start), nil
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	said, _ := os.ReadFile(log.Name())
	return nil, 0, errors.Join(fmt.Errorf("not ready after 20 s; it said:\n%s", said), s.stop())
}

func (s *server) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return s.cmd.Wait()
}

func readyz(ctx context.Context, b *bench) error {
	s, took, err := b.startServer(ctx)
	if err != nil {
		return err
	}
	stop := time.Now()
	if err := s.stop(); err != nil {
		return fmt.Errorf("stop the server: %w", err)
	}
	report("ServerReadyz", took.Seconds()*1e3, "ms", time.Since(stop).Seconds()*1e3, "stop-ms")
	return nil
}

// clusterName is that of the clusters measured here.
const clusterName = "figures"

func (b *bench) sandbox(ctx context.Context, args ...string) ([]byte, error) {
	out, err := exec.CommandContext(ctx, b.clipper, append([]string{"sandbox"}, args...)...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("clipper sandbox %v: %w: %s", args, err, exit.Stderr)
	}
	return out, err
}

// withCluster makes a cluster, with options of sandbox create, hands its kubeconfig to fn and removes it.
func (b *bench) withCluster(ctx context.Context, nodes int, fn func(kubeconfig string, took time.Duration) error, options ...string) (err error) {
	start := time.Now()
	if _, err := b.sandbox(ctx, append([]string{"create", clusterName, "--nodes", fmt.Sprint(nodes)}, options...)...); err != nil {
		return err
	}
	took := time.Since(start)
	defer func() {
		_, gone := b.sandbox(context.WithoutCancel(ctx), "delete", clusterName)
		err = errors.Join(err, gone)
	}()
	config, err := b.sandbox(ctx, "kubeconfig", clusterName)
	if err != nil {
		return err
	}
	path := filepath.Join(b.dir, "cluster.kubeconfig")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		return err
	}
	return fn(path, took)
}

func (b *bench) create(ctx context.Context, nodes int) error {
	return b.withCluster(ctx, nodes, func(_ string, took time.Duration) error {
		report(fmt.Sprintf("SandboxReady/nodes=%d", nodes), took.Seconds()*1e3, "ms")
		return nil
	})
}
