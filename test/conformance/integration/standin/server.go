// Package standin runs the clipper server where upstream's integration tests start an API server in their own process.
// The files in testdata/overlay, which take the place of upstream's, call it.
//
// The server is one without controllers and without a scheduler, as upstream's is: the leases of both are held before
// it starts. Its state is in the etcd of the tests, below the prefix that they chose. What it cannot be told from
// outside skips the test, with the reason.
package standin

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
)

// Names of the environment that say which binary is tested, and where what it logs stays for a reader.
const (
	binaryVariable = "CLIPPER"
	logsVariable   = "CLIPPER_LOGS"
)

// patience is how long a server may take to start, and stopping is what a server gets for its end.
const (
	patience = 30 * time.Second
	stopping = 5 * time.Second
)

// A Server is a clipper server that runs.
type Server struct {
	Config *rest.Config // in the name of an administrator
	CAFile string       // what the certificate of the server is checked with
	Port   int

	command *exec.Cmd
	ended   chan struct{} // closed when the process is gone
	log     string
}

// whyEnded makes the last words of a server that did not start the reason.
func (s *Server) whyEnded() error {
	text, err := os.ReadFile(s.log)
	if err != nil {
		return err
	}
	words := strings.TrimSpace(string(text))
	if i := strings.LastIndex(words, "\nclipper: "); i >= 0 {
		words = strings.ReplaceAll(words[i+len("\nclipper: "):], "\n", "; ")
	}
	if strings.Contains(words, "not supported here") {
		return notInClipper(words)
	}
	return fmt.Errorf("the server ended: %s", words)
}

// NotOffered is the reason why a server did not start: what it was asked for it does not have, or cannot be told.
type NotOffered struct{ Reason string }

// Error implements error.
func (e *NotOffered) Error() string { return e.Reason }

func notInClipper(what string) error { return &NotOffered{Reason: "not in Clipper: " + what} }

// Start runs a server on the state that o names, with o.Flags. dir is the server's own. Unless o.DoNotWait says so,
// the server is ready when Start returns.
func Start(ctx context.Context, dir string, o Options) (*Server, error) {
	if err := o.prepare(ctx, dir); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	socket, err := listener.(*net.TCPListener).File()
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	s := &Server{ended: make(chan struct{}), Port: listener.Addr().(*net.TCPAddr).Port, CAFile: filepath.Join(dir, "pki", "ca.crt")}
	s.Config = &rest.Config{
		Host: "https://" + listener.Addr().String(), BearerToken: o.token, QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{CAFile: s.CAFile},
		ContentConfig:   rest.ContentConfig{ContentType: "application/vnd.kubernetes.protobuf"},
	}
	return s, withKeys(dir, func() error {
		if err := s.run(dir, socket, o.arguments(dir)); err != nil {
			return err
		}
		err := s.await(ctx, o.DoNotWait)
		if err == nil {
			s.Config.CAData, err = os.ReadFile(s.CAFile) // some tests write it into kubeconfigs
		}
		if err != nil {
			s.Stop()
		}
		return err
	})
}

// run starts the process. It ends with that of the tests, however that ends.
func (s *Server) run(dir string, socket *os.File, args []string) error {
	out, err := s.openLog(dir)
	if err != nil {
		return err
	}
	defer out.Close()
	fmt.Fprintln(out, args)
	s.command = exec.Command(os.Getenv(binaryVariable), args...)
	s.command.Stdout, s.command.Stderr, s.command.ExtraFiles = out, out, []*os.File{socket}
	s.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.command.Start(); err != nil {
		return fmt.Errorf("start the server that %s names: %w", binaryVariable, err)
	}
	go func() {
		defer close(s.ended)
		_ = s.command.Wait() // that it has ended, and why, is in its log
	}()
	return nil
}

func (s *Server) openLog(dir string) (*os.File, error) {
	s.log = filepath.Join(dir, "log")
	if logs := os.Getenv(logsVariable); logs != "" {
		s.log = filepath.Join(logs, fmt.Sprintf("%d.log", s.Port))
	}
	return os.OpenFile(s.log, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
}

// await waits until the server is ready or, with alive, until it serves at all.
func (s *Server) await(ctx context.Context, alive bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		select {
		case <-s.ended:
			return s.whyEnded()
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready after %v: %w", patience, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
		if s.answers(ctx, alive) {
			return nil
		}
	}
}

func (s *Server) answers(ctx context.Context, alive bool) bool {
	config := rest.CopyConfig(s.Config)
	if _, err := os.Stat(s.CAFile); err != nil {
		return false
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return false
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Config.Host+"/readyz", nil)
	if err != nil {
		return false
	}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return alive || response.StatusCode == http.StatusOK
}

// Stop ends the server and waits for it.
func (s *Server) Stop() {
	_ = s.command.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	select {
	case <-s.ended:
	case <-time.After(stopping):
		_ = s.command.Process.Kill()
		<-s.ended
	}
}
