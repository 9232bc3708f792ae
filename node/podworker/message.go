package podworker

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"clipper/api/containers"
	"clipper/node/podworker/lifecycle"
	"clipper/node/runtime"
)

// Limits of termination messages: per container, per pod, and what is taken from a log. Upstream's figures.
const (
	maxMessage         = 4096
	maxMessagePod      = 12 * 1024
	maxMessageLog      = 2048
	maxMessageLogLines = 80
)

// noteMessage reads the last words of a container that has ended.
func (w *Worker) noteMessage(r *lifecycle.Record, s runtime.ContainerStatus) {
	if _, done := r.Message[s.ID]; done {
		return
	}
	c := containers.Named(&w.pod.Spec, s.Name)
	if c == nil {
		return
	}
	limit := maxMessage
	if n := len(w.pod.Spec.InitContainers) + len(w.pod.Spec.Containers) + len(w.pod.Spec.EphemeralContainers); n > 0 {
		limit = min(limit, maxMessagePod/n)
	}
	if r.Message == nil {
		r.Message = map[string]string{}
	}
	r.Message[s.ID] = lastWords(c, s, w.messageFile(w.pod, s.Name, s.Attempt), limit)
}

func lastWords(c *corev1.Container, s runtime.ContainerStatus, file string, limit int) string {
	msg := ""
	if c.TerminationMessagePath != "" {
		f, err := os.Open(file)
		if err == nil {
			b, err := io.ReadAll(io.LimitReader(f, int64(limit)))
			f.Close()
			msg = string(b)
			if err != nil {
				msg = fmt.Sprintf("Error on reading termination log %s: %v", c.TerminationMessagePath, err)
			}
		}
	}
	if msg == "" && s.ExitCode != 0 && c.TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError {
		msg = logTail(s.LogPath, min(limit, maxMessageLog))
	}
	return strings.ToValidUTF8(msg, "\uFFFD")
}

// logTail returns the last lines of a CRI log without its prefixes.
func logTail(path string, limit int) string {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Sprintf("Error reading termination message from logs: %v", err)
	}
	defer f.Close()
	// A line's prefix is about 45 bytes; enough is read for the most lines that may be shown.
	window := int64(limit + maxMessageLogLines*64)
	if st, err := f.Stat(); err == nil && st.Size() > window {
		if _, err := f.Seek(-window, io.SeekEnd); err != nil {
			return ""
		}
	}
	raw, err := io.ReadAll(io.LimitReader(f, window))
	if err != nil {
		return ""
	}
	var out bytes.Buffer
	lines := bytes.SplitAfter(raw, []byte("\n"))
	for _, l := range lines[max(0, len(lines)-1-maxMessageLogLines):] {
		// "<time> <stream> <P|F> <text>"
		parts := bytes.SplitN(l, []byte(" "), 4)
		if len(parts) < 4 {
			continue
		}
		text := parts[3]
		if bytes.HasPrefix(parts[2], []byte("P")) {
			text = bytes.TrimSuffix(text, []byte("\n"))
		}
		out.Write(text)
	}
	b := out.Bytes()
	return string(b[max(0, len(b)-limit):])
}
