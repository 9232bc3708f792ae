// Command clipper-shim is the parent of a node's containers: see package shim. It is built statically, embedded in
// the clipper binary and started by the node agent; nobody runs it by hand. Modes:
//
//	clipper-shim launch FLAGS   start "serve" in the background, wait until it is ready, and return
//	clipper-shim serve FLAGS    be the shim
//	clipper-shim init           set up a container from inside (libcontainer's second half)
//	clipper-shim compile-filter compile a seccomp filter, for the containers to come (see filter.c)
//	clipper-shim hold           keep terminals open for the shims to come (in C, before Go starts: see hold.c)
//	clipper-shim pause          be the init of a pod's shared PID namespace (in C, before Go starts: see pause.c)
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/sirupsen/logrus"

	"clipper/node/runtime/embedded/crilog"
	"clipper/node/runtime/embedded/shim"
)

func main() {
	// What set-up processes of containers inherit: they are Go too, and do one thing after the other.
	os.Setenv("GOMAXPROCS", "1")
	if len(os.Args) < 2 {
		fail(errors.New("usage: clipper-shim launch|serve FLAGS (started by the node agent)"))
	}
	var err error
	switch mode, args := os.Args[1], os.Args[2:]; mode {
	case "launch":
		err = launch(args)
	case "serve":
		err = serve(args)
	case "compile-filter":
		err = shim.CompileFilter(os.Stdin)
	default:
		err = fmt.Errorf("unknown mode %q", mode)
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "clipper-shim:", err)
	os.Exit(1)
}

// flags are those of launch and serve.
type flags struct {
	shim.Options
	cgroup string
}

func parse(args []string) (flags, error) {
	var f flags
	set := flag.NewFlagSet("clipper-shim", flag.ContinueOnError)
	set.StringVar(&f.StateDir, "state-dir", "", "directory of the shim's state")
	set.StringVar(&f.Build, "build", "", "content hash of this binary")
	set.StringVar(&f.cgroup, "cgroup", "", "cgroup to move to, relative to the hierarchies' roots")
	limits := crilog.Limits{}
	set.Int64Var(&limits.Size, "log-size", 0, "rotate container logs at this size; 0: never")
	set.IntVar(&limits.Files, "log-files", 0, "log files to keep per container when rotating; 0: all")
	listener := set.Int("listener-fd", -1, "descriptor of a listening socket that was handed over")
	if err := set.Parse(args); err != nil {
		return f, err
	}
	f.LogLimits = limits
	if *listener >= 0 {
		syscall.CloseOnExec(*listener)
		f.Listener = os.NewFile(uintptr(*listener), "listener")
	}
	if !filepath.IsAbs(f.StateDir) {
		return f, fmt.Errorf("--state-dir %q: must be an absolute path", f.StateDir)
	}
	return f, nil
}

// readyFD is where serve reports to launch: "ready", or what went wrong.
const readyFD = 3

// serveProcs lets the shim of a small machine do several things at once, too: libcontainer waits for set-up
// processes in blocking system calls, and the Go scheduler takes up to 10 ms to notice that such a call keeps a
// processor from other goroutines. On a large machine it bounds the caches that are kept for each processor.
const serveProcs = "GOMAXPROCS=4"

// launch starts serve in a session of its own, so that no signal to the agent's group or terminal reaches it,
// and leaves it to init.
func launch(args []string) error {
	f, err := parse(args)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(f.StateDir, 0o700); err != nil {
		return err
	}
	log, err := openLog(filepath.Join(f.StateDir, "shim.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, append([]string{"serve"}, args...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = "/", log, log, []*os.File{w}
	cmd.Env = append(os.Environ(), serveProcs)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return err
	}
	said, err := io.ReadAll(io.LimitReader(r, 4096))
	if err != nil {
		return err
	}
	if string(said) == "ready" {
		return nil
	}
	_ = cmd.Wait()
	if msg := strings.TrimSpace(string(bytes.TrimPrefix(said, []byte("ready")))); msg != "" {
		return errors.New(msg)
	}
	return fmt.Errorf("the shim ended at once; see %s", log.Name())
}

// openLog appends to the shim's own log, which starts anew when it has grown large: the shim says little.
func openLog(path string) (*os.File, error) {
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if st, err := os.Stat(path); err == nil && st.Size() > 1<<20 {
		flags |= os.O_TRUNC
	}
	return os.OpenFile(path, flags, 0o600)
}

func serve(args []string) error {
	f, err := parse(args)
	if err != nil {
		return err
	}
	logrus.SetLevel(logrus.WarnLevel)
	logrus.SetOutput(os.Stderr)
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	ready := reporter(f.Listener == nil)
	if f.cgroup != "" {
		if err := shim.MoveTo(f.cgroup); err != nil {
			slog.Warn("staying in the agent's cgroup", "err", err)
		}
	}
	for {
		next, err := shim.Serve(context.Background(), f.Options, func() { ready("ready") })
		if err != nil {
			slog.Error("the shim ends", "err", err)
			ready(err.Error())
		}
		if next == nil {
			return err
		}
		// Returns only if it fails: this program goes on then.
		slog.Error("cannot become another shim", "program", next.Path, "err", become(next, f))
		f.Listener = next.Listener
	}
}

// reporter returns what tells launch, once, how serve has started. Nobody waits to hear it from a shim that
// replaces another.
func reporter(launched bool) func(string) {
	if !launched {
		return func(string) {}
	}
	report := os.NewFile(readyFD, "ready")
	syscall.CloseOnExec(readyFD)
	return func(text string) {
		fmt.Fprint(report, text)
		report.Close()
	}
}

// become makes this process run another build of the shim.
func become(next *shim.Handover, f flags) error {
	fd := int(next.Listener.Fd())
	if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_SETFD, 0); errno != 0 {
		return errno
	}
	args := []string{
		next.Path, "serve", "--state-dir", f.StateDir, "--build", next.Hash, "--cgroup", f.cgroup, "--listener-fd", strconv.Itoa(fd),
		"--log-size", strconv.FormatInt(f.LogLimits.Size, 10), "--log-files", strconv.Itoa(f.LogLimits.Files),
	}
	err := syscall.Exec(next.Path, args, os.Environ())
	syscall.CloseOnExec(fd)
	return err
}
