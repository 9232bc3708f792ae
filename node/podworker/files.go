package podworker

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"clipper/node/podworker/naming"
	"clipper/node/runtime"
)

// writePodFiles writes the files by which the pod's containers know names.
func (w *Worker) writePodFiles(pod *corev1.Pod, ips []netip.Addr) error {
	omitted, err := w.cfg.naming().Write(w.podDir(pod), pod, ips)
	for _, o := range omitted {
		w.event("", corev1.EventTypeWarning, "DNSConfigForming", "%s", o)
	}
	return err
}

// containerFiles are the files every container gets: hosts, resolver, host name, and the one for its last
// words.
func (w *Worker) containerFiles(pod *corev1.Pod, c *corev1.Container, attempt int) ([]runtime.Mount, error) {
	out := naming.Mounts(w.podDir(pod), c.SecurityContext != nil && ptr.Deref(c.SecurityContext.ReadOnlyRootFilesystem, false))
	if c.TerminationMessagePath == "" {
		return out, nil
	}
	path := w.messageFile(pod, c.Name, attempt)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("create directory for termination messages: %w", err)
	}
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		return nil, fmt.Errorf("create termination message file: %w", err)
	}
	if err := os.Chmod(path, 0o666); err != nil { // any user of the container may write, whatever our umask
		return nil, fmt.Errorf("create termination message file: %w", err)
	}
	return append(out, runtime.Mount{Host: path, Container: c.TerminationMessagePath}), nil
}

func (w *Worker) messageFile(pod *corev1.Pod, container string, attempt int) string {
	return filepath.Join(w.podDir(pod), "containers", container, strconv.Itoa(attempt))
}
