package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"clipper/node/runtime"
)

// shared are the files of the host that a sandbox's containers see a copy of.
var shared = []string{"hosts", "resolv.conf"}

// writeFiles makes the files that the sandbox's containers share.
func writeFiles(dir string, c *runtimeapi.PodSandboxConfig) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the sandbox's directory: %w", err)
	}
	for _, name := range shared {
		content, err := os.ReadFile(filepath.Join("/etc", name))
		if err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("read the host's file: %w", err)
		}
		if dns := c.DnsConfig; name == "resolv.conf" && dns != nil {
			content = []byte(resolver(dns))
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return fmt.Errorf("write the sandbox's file: %w", err)
		}
	}
	return nil
}

// sweepFiles removes the files of sandboxes that a process that was killed has not come to make.
func (s *Server) sweepFiles(ctx context.Context) error {
	entries, err := os.ReadDir(s.opts.Dir)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("list the sandboxes' files: %w", err)
	}
	for _, e := range entries {
		if _, err := s.opts.Runtime.SandboxStatus(ctx, e.Name()); errors.Is(err, runtime.ErrNotFound) {
			if err := os.RemoveAll(s.filesDir(e.Name())); err != nil {
				return fmt.Errorf("remove the files of a sandbox that is gone: %w", err)
			}
		}
	}
	return nil
}

// resolver renders a resolver file.
func resolver(dns *runtimeapi.DNSConfig) string {
	var b strings.Builder
	if len(dns.Searches) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(dns.Searches, " "))
	}
	for _, server := range dns.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}
	if len(dns.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(dns.Options, " "))
	}
	return b.String()
}

// fileMounts mounts the sandbox's files into a container that mounts nothing of its own there.
func fileMounts(dir string, own []runtime.Mount, readOnly bool) []runtime.Mount {
	taken := map[string]bool{}
	for _, m := range own {
		taken[filepath.Clean(m.Container)] = true
	}
	var out []runtime.Mount
	for _, name := range shared {
		at, from := filepath.Join("/etc", name), filepath.Join(dir, name)
		if _, err := os.Stat(from); err == nil && !taken[at] { // the agent's sandboxes have none here
			out = append(out, runtime.Mount{Host: from, Container: at, ReadOnly: readOnly})
		}
	}
	return out
}
