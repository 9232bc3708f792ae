package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"clipper/node/network/netns"
)

// A launcher starts the processes of one Create and notices when one ends.
type launcher struct {
	sandbox Sandbox
	binary  string
	exits   chan error // what a node that ended said last
}

// server starts the first node unless it runs. Its API listens on a socket made here, in the caller's
// network namespace, beside the one that it makes in its own.
func (l *launcher) server(rec *record) error {
	if rec.running(1) {
		return nil
	}
	listener, err := listen(rec.Port)
	if err != nil {
		return fmt.Errorf("listen for the API: %w; free the port, or run 'clipper sandbox delete %s'", err, l.sandbox.Name)
	}
	defer listener.Close()
	rec.Port = listener.Addr().(*net.TCPAddr).Port
	socket, err := listener.(*net.TCPListener).File()
	if err != nil {
		return fmt.Errorf("pass the API's socket on: %w", err)
	}
	defer socket.Close()
	const firstExtraFile = 3
	args := append([]string{"server"}, l.nodeFlags(1)...)
	args = append(args, "--listen", fmt.Sprintf("0.0.0.0:%d", apiPort), "--listen-fd", fmt.Sprint(firstExtraFile),
		"--node-cidr-mask-size", fmt.Sprint(nodeCIDRBits))
	p, err := l.start(1, args, nil, socket)
	if err != nil {
		return err
	}
	rec.setProcess(1, p)
	return nil
}

// listen takes a port of this machine, 0 for any. A server that was killed a moment ago may have threads left
// that hold its port.
func listen(port int) (net.Listener, error) {
	for deadline := time.Now().Add(time.Second); ; time.Sleep(10 * time.Millisecond) {
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil || !errors.Is(err, unix.EADDRINUSE) || time.Now().After(deadline) {
			return l, err
		}
	}
}

// agent starts another node.
func (l *launcher) agent(i int, token string) (process, error) {
	args := append([]string{"agent"}, l.nodeFlags(i)...)
	args = append(args, "--server", fmt.Sprintf("https://%s:%d", nodeIP(1), apiPort))
	return l.start(i, args, []string{"CLIPPER_TOKEN=" + token}) // not an argument: those everyone can read
}

func (l *launcher) nodeFlags(i int) []string {
	return []string{
		"--data-dir", l.sandbox.nodeDir(i),
		"--root-dir", filepath.Join(l.sandbox.nodeDir(i), "kubelet"), // nodes share this machine's files
		"--log-dir", filepath.Join(l.sandbox.nodeDir(i), "logs"),
		"--node-name", nodeName(i),
		"--node-ip", nodeIP(i).String(),
		"--cgroup-root", l.sandbox.cgroup() + "/" + nodeName(i),
		"--kubelet-config", l.sandbox.kubeletConfig(),
	}
}

// start starts a node's process in its namespace, detached from the terminal, writing to its log.
func (l *launcher) start(i int, args, env []string, files ...*os.File) (process, error) {
	if err := os.MkdirAll(l.sandbox.nodeDir(i), 0o700); err != nil {
		return process{}, err
	}
	log, err := os.OpenFile(l.logPath(i), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return process{}, err
	}
	defer log.Close()
	cmd := exec.Command(l.binary, args...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	since := time.Now().Truncate(time.Second)
	// A child inherits the namespaces of the thread that forks it.
	err = netns.Do(l.sandbox.netns(nodeName(i)), func() error { return withHostname(nodeName(i), cmd.Start) })
	if err != nil {
		return process{}, fmt.Errorf("start %s: %w", nodeName(i), err)
	}
	start, _, err := processStart(cmd.Process.Pid)
	if err != nil {
		return process{}, fmt.Errorf("start %s: it ended at once: %s", nodeName(i), l.lastWords(i))
	}
	// Ends with the node or with this program, whichever is first; the channel has room for every node.
	go func() {
		err := cmd.Wait()
		l.exits <- fmt.Errorf("%s ended (%v): %s", nodeName(i), exitText(err), l.lastWords(i))
	}()
	return process{PID: cmd.Process.Pid, Start: start, Since: since}, nil
}

// withHostname runs fn with the calling thread in a UTS namespace of its own, so that what is started in it,
// pods on the host network for one, sees the node's name as the machine's. The caller holds the thread.
func withHostname(name string, fn func() error) error {
	home, err := os.Open("/proc/thread-self/ns/uts")
	if err != nil {
		return err
	}
	defer home.Close()
	if err := unix.Unshare(unix.CLONE_NEWUTS); err != nil {
		return fmt.Errorf("make UTS namespace: %w", err)
	}
	err = unix.Sethostname([]byte(name))
	if err == nil {
		err = fn()
	}
	return errors.Join(err, unix.Setns(int(home.Fd()), unix.CLONE_NEWUTS))
}

func exitText(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

func (l *launcher) logPath(i int) string { return filepath.Join(l.sandbox.nodeDir(i), "log") }

// lastWords returns the end of a node's log.
func (l *launcher) lastWords(i int) string {
	data, err := os.ReadFile(l.logPath(i))
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	if err != nil || len(data) == 0 {
		return "it wrote nothing"
	}
	const enough = 5
	return string(bytes.Join(lines[max(0, len(lines)-enough):], []byte("\n")))
}

// token asks the server for a join token, by its own command in its own namespace.
func (l *launcher) token(ctx context.Context) (string, error) {
	var out, errout bytes.Buffer
	cmd := exec.CommandContext(ctx, l.binary, "token", "create", "--data-dir", l.sandbox.nodeDir(1))
	cmd.Stdout, cmd.Stderr = &out, &errout
	if err := netns.Do(l.sandbox.netns(nodeName(1)), cmd.Start); err != nil {
		return "", fmt.Errorf("make a join token: %w", err)
	}
	if err := cmd.Wait(); err != nil {
		return "", fmt.Errorf("make a join token: %w: %s", err, strings.TrimSpace(errout.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// within runs wait until it is done, a node ends, or ctx does. nodes is how many have a log that may tell why.
func (l *launcher) within(ctx context.Context, nodes int, wait func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- wait(ctx) }() // returns when ctx is cancelled, at the latest below
	select {
	case err := <-done:
		if errors.Is(err, context.DeadlineExceeded) {
			for i := 1; i <= nodes; i++ {
				err = fmt.Errorf("%w\n%s logged last: %s", err, nodeName(i), l.lastWords(i))
			}
			return fmt.Errorf("not ready in time: %w", err)
		}
		return err
	case err := <-l.exits:
		cancel()
		<-done
		return err
	}
}
