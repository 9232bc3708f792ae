// Package crilog writes container output in the log format of the CRI, which kubelets, log shippers and
// `kubectl logs` read: one entry a line, "2006-01-02T15:04:05.999999999Z stdout F text". Lines longer than
// 16 KiB are split into entries tagged P (partial), the last of which is F (full).
//
// A File is owned by one caller at a time; it starts no goroutine and holds no buffer but an unfinished line.
package crilog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// maxLine is where a line is split.
const maxLine = 16 << 10

// A Stream names where output came from.
type Stream int

// Streams.
const (
	Stdout Stream = iota
	Stderr
)

var streamNames = [...]string{"stdout", "stderr"}

// Limits bound a log. Zero values mean no rotation.
type Limits struct {
	Size  int64 // rotate when the file has grown past it
	Files int   // files kept, the current one included
}

// A File is a container's log.
type File struct {
	path    string
	limits  Limits
	now     func() time.Time
	file    *os.File
	size    int64
	pending [2][]byte // an unfinished line per stream
	out     []byte    // entries of one Write, reused
}

// Open opens or continues the log at path.
func Open(path string, limits Limits) (*File, error) {
	l := &File{path: path, limits: limits, now: time.Now}
	return l, l.open()
}

func (l *File) open() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	l.file, l.size = f, st.Size()
	return nil
}

// Write appends what a stream said. An unfinished line waits for its end, up to maxLine.
func (l *File) Write(s Stream, p []byte) error {
	stamp := l.now().UTC().AppendFormat(nil, time.RFC3339Nano)
	l.out = l.out[:0]
	for len(p) > 0 {
		line, rest, full := bytes.Cut(p, []byte{'\n'})
		p = rest
		l.pending[s] = append(l.pending[s], line...)
		// As containerd does it: a line of exactly maxLine bytes is whole, one byte more splits it.
		for len(l.pending[s]) > maxLine {
			l.entry(stamp, s, 'P', l.pending[s][:maxLine])
			l.pending[s] = append(l.pending[s][:0], l.pending[s][maxLine:]...)
		}
		if full {
			l.entry(stamp, s, 'F', l.pending[s])
			l.pending[s] = l.pending[s][:0]
		}
	}
	if len(l.pending[s]) == 0 {
		l.pending[s] = nil
	}
	return l.flush()
}

// Flush writes unfinished lines as partial entries: the stream has ended.
func (l *File) Flush() error {
	stamp := l.now().UTC().AppendFormat(nil, time.RFC3339Nano)
	l.out = l.out[:0]
	for s := range l.pending {
		if len(l.pending[s]) > 0 {
			l.entry(stamp, Stream(s), 'P', l.pending[s])
			l.pending[s] = nil
		}
	}
	return l.flush()
}

func (l *File) entry(stamp []byte, s Stream, tag byte, line []byte) {
	l.out = append(l.out, stamp...)
	l.out = append(l.out, ' ')
	l.out = append(l.out, streamNames[s]...)
	l.out = append(l.out, ' ', tag, ' ')
	l.out = append(l.out, line...)
	l.out = append(l.out, '\n')
}

// flush writes the entries of this call with one system call, into a new file when the old one is full.
func (l *File) flush() error {
	if len(l.out) == 0 {
		return nil
	}
	defer func() {
		if cap(l.out) > 4<<10 {
			l.out = nil // a burst is over: give its memory back
		}
	}()
	var rotateErr error
	if l.limits.Size > 0 && l.size > 0 && l.size+int64(len(l.out)) > l.limits.Size {
		rotateErr = l.rotate()
	}
	if l.file == nil {
		return errors.Join(rotateErr, fmt.Errorf("log %s: not open", l.path))
	}
	n, err := l.file.Write(l.out)
	l.size += int64(n)
	return errors.Join(rotateErr, err)
}

// rotate moves the full file away under the name a kubelet would give it and starts a new one.
func (l *File) rotate() error {
	old := l.path + "." + l.now().UTC().Format("20060102-150405")
	for i := 1; exists(old); i++ { // more than one rotation in a second
		old = fmt.Sprintf("%s.%s-%d", l.path, l.now().UTC().Format("20060102-150405"), i)
	}
	if err := os.Rename(l.path, old); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("rotate log: %w", err)
	}
	if err := l.Reopen(); err != nil {
		return err
	}
	return l.prune()
}

// prune removes the oldest rotated files beyond the limit.
func (l *File) prune() error {
	if l.limits.Files <= 0 {
		return nil
	}
	old, err := filepath.Glob(escapeGlob(l.path) + ".*")
	if err != nil {
		return err
	}
	slices.SortFunc(old, func(a, b string) int { return modTime(a).Compare(modTime(b)) })
	for len(old) > l.limits.Files-1 {
		if err := os.Remove(old[0]); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("prune log: %w", err)
		}
		old = old[1:]
	}
	return nil
}

// Reopen continues in a new file at the same path: the old one was moved away.
func (l *File) Reopen() error {
	old := l.file
	if err := l.open(); err != nil {
		return fmt.Errorf("reopen log: %w", err)
	}
	if old != nil {
		old.Close()
	}
	return nil
}

// Close writes unfinished lines and closes the file.
func (l *File) Close() error {
	err := l.Flush()
	if l.file != nil {
		err = errors.Join(err, l.file.Close())
		l.file = nil
	}
	return err
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func modTime(path string) time.Time {
	st, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return st.ModTime()
}

// escapeGlob makes path literal in a pattern.
func escapeGlob(path string) string {
	out := make([]byte, 0, len(path))
	for i := range len(path) {
		switch path[i] {
		case '*', '?', '[', '\\':
			out = append(out, '\\')
		}
		out = append(out, path[i])
	}
	return string(out)
}
