package environment

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// fileKey reads a variable that an earlier container of the pod has left in a file on a volume.
func (n *Node) fileKey(ctx context.Context, pod *corev1.Pod, c *corev1.Container, ref *corev1.FileKeySelector) (v string, ok bool, err error) {
	if !slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == ref.VolumeName }) {
		return "", false, fmt.Errorf("cannot find the volume %q referenced by FileKeyRef", ref.VolumeName)
	}
	dir, err := n.Volumes.Path(ctx, pod, c.Name, &corev1.VolumeMount{Name: ref.VolumeName}, "")
	if err != nil {
		return "", false, fmt.Errorf("failed to get host path for volume %q: %w", ref.VolumeName, err)
	}
	path, err := securejoin.SecureJoin(dir, ref.Path)
	if err != nil {
		return "", false, err
	}
	f, err := openFile(path)
	if err == nil {
		v, err = envFileValue(f, ref.Key)
		f.Close()
	}
	switch {
	case err != nil:
		slog.Warn("A file of environment variables cannot be used", "pod", pod.Namespace+"/"+pod.Name, "container", c.Name, "file", path, "err", err)
		return "", false, errors.New("couldn't parse env file")
	case v == "" && !ptr.Deref(ref.Optional, false):
		return "", false, fmt.Errorf("environment variable key %q not found in file %q", ref.Key, path)
	}
	return v, v != "", nil
}

// openFile opens what a container has written, if it is a file: a FIFO would wait for a writer that never comes, and the
// pod with it, even for its end.
func openFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file but %v", path, info.Mode().Type())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// envFileValue returns the value of key in a file of lines VAR='value', "" if it is not there. Nothing within the
// quotes has a meaning of its own, not even a new line; # begins a comment. The faults' words are upstream's.
func envFileValue(file io.Reader, key string) (string, error) {
	p := envFile{lines: bufio.NewScanner(file)}
	for p.next() {
		line := strings.TrimLeft(p.line, " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, ok := strings.Cut(line, "=")
		switch {
		case !ok:
			return "", p.fault("missing '='")
		case strings.TrimRight(name, " \t") == "":
			return "", p.fault("empty variable name")
		case strings.TrimRight(name, " \t") != name:
			return "", p.fault("whitespace before '=' is not allowed")
		}
		value := ""
		if rest == strings.TrimLeft(rest, " \t") { // a blank ends the assignment, as in a shell
			var err error
			if value, err = p.quoted(rest); err != nil {
				return "", err
			}
		}
		if name == key {
			return value, nil
		}
	}
	return "", p.lines.Err()
}

// envFile is such a file while it is read.
type envFile struct {
	lines  *bufio.Scanner
	line   string
	number int
}

func (p *envFile) next() bool {
	if !p.lines.Scan() {
		return false
	}
	p.line = p.lines.Text()
	p.number++
	return true
}

func (p *envFile) fault(what string) error {
	return fmt.Errorf("invalid environment variable format at line %d: %s", p.number, what)
}

// quoted reads a value in single quotes, which may go on over several lines.
func (p *envFile) quoted(rest string) (string, error) {
	rest, ok := strings.CutPrefix(rest, "'")
	if !ok {
		return "", p.fault("value must be enclosed in single quotes")
	}
	began := p.number
	var b strings.Builder
	for {
		text, after, closed := strings.Cut(rest, "'")
		b.WriteString(text)
		if closed {
			if after = strings.TrimLeft(after, " \t"); after != "" && after[0] != '#' {
				return "", p.fault("unexpected content after closing quote")
			}
			return b.String(), nil
		}
		b.WriteByte('\n')
		if !p.next() {
			return "", fmt.Errorf("invalid environment variable format starting at line %d: unclosed single quote", began)
		}
		rest = p.line
	}
}
