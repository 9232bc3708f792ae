package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// fanOutProfile tells what the server's processor time goes to while 200 watchers see writes.
func fanOutProfile(ctx context.Context, b *bench) error {
	const watchers, writes, seconds = 200, 5000, 8
	return b.withServer(ctx, func(s *server) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		ended := make(chan error, 1)
		go func() {
			_, err := b.apiload(ctx, s.kubeconfig, "watch", "-w", strconv.Itoa(watchers), "-n", strconv.Itoa(writes))
			ended <- err
		}()
		shares, err := b.profile(ctx, s, seconds)
		if err != nil {
			cancel()
		}
		if load := <-ended; err == nil {
			err = load
		}
		if err != nil {
			return err
		}
		var pairs []any
		for _, p := range parts {
			pairs = append(pairs, shares[p.name], "%-"+p.name)
		}
		report(fmt.Sprintf("WatchProfile/watchers=%d", watchers), pairs...)
		return nil
	})
}

// profile samples the server's processor time and returns the share of each part, in percent.
func (b *bench) profile(ctx context.Context, s *server, seconds int) (map[string]float64, error) {
	raw, err := exec.CommandContext(ctx, b.clipper, "kubectl", "--kubeconfig", s.kubeconfig, "get", "--raw",
		fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds)).Output()
	if err != nil {
		return nil, fmt.Errorf("profile the server: %w", err)
	}
	file := filepath.Join(b.dir, "profile")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		return nil, err
	}
	text, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-traces", file).Output()
	if err != nil {
		return nil, fmt.Errorf("read the profile: %w", err)
	}
	return sharesOf(string(text))
}

// parts are what processor time goes to. A sample belongs to the part that the innermost of its functions that
// any part knows is of: copying bytes counts as what they are copied for.
var parts = []struct {
	name string
	of   []string // beginnings of functions' names
}{
	{"kernel", []string{"internal/runtime/syscall", "runtime.futex", "runtime.epoll", "runtime.usleep", "runtime.write", "runtime.madvise", "syscall."}},
	{"tls", []string{"crypto/"}},
	{"wake-ups", []string{"runtime.mcall", "runtime.park", "runtime.schedule", "runtime.findRunnable", "runtime.selectgo", "runtime.chan",
		"runtime.closechan", "runtime.gopark", "runtime.goready", "runtime.ready", "runtime.mstart", "runtime.sysmon", "runtime.netpoll"}},
	{"memory", []string{"runtime.mallocgc", "runtime.gc", "runtime.bg", "runtime.morestack", "runtime.newstack"}},
	{"http2", []string{"golang.org/x/net/", "clipper/apiserver/h2."}},
	{"events", []string{"clipper/apiserver.(*watcher)", "clipper/apiserver.(*carrier)", "clipper/apiserver.(*event", "clipper/store.(*Watch)"}},
	{"rest", []string{""}}, // writes, and the start of the watches
}

// partOf returns the part that a stack belongs to, innermost function first.
func partOf(stack []string) string {
	for _, f := range stack {
		for _, p := range parts[:len(parts)-1] {
			for _, beginning := range p.of {
				if strings.HasPrefix(f, beginning) {
					return p.name
				}
			}
		}
	}
	return parts[len(parts)-1].name
}

// sharesOf adds up the samples of go tool pprof -traces: blocks of labels, a time with the innermost function,
// and its callers.
func sharesOf(traces string) (map[string]float64, error) {
	times, all := map[string]time.Duration{}, time.Duration(0)
	for _, block := range strings.Split(traces, "-----------+")[1:] {
		var stack []string
		var took time.Duration
		for _, line := range strings.Split(block, "\n")[1:] {
			fields := strings.Fields(line)
			switch {
			case took > 0 && len(fields) > 0:
				stack = append(stack, fields[0])
			case len(fields) > 1: // a label, if it is no time
				if took, _ = time.ParseDuration(fields[0]); took > 0 {
					stack = append(stack, fields[1])
				}
			}
		}
		times[partOf(stack)] += took
		all += took
	}
	if all == 0 {
		return nil, fmt.Errorf("the profile shows nothing:\n%s", traces)
	}
	shares := map[string]float64{}
	for part, took := range times {
		shares[part] = 100 * took.Seconds() / all.Seconds()
	}
	return shares, nil
}
