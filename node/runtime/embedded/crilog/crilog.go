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
	"sync"
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
	torn    bool      // the disk was full in the middle of an entry
}

// flushAt is how many bytes of entries are gathered for one write.
const flushAt = 32 << 10

// buffers lends what entries are gathered in: a File needs one only while it writes.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, flushAt+maxLine+64); return &b }}

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
	e := l.entries()
	defer e.release()
	for len(p) > 0 {
		line, rest, full := bytes.Cut(p, []byte{'\n'})
		p = rest
		if len(l.pending[s]) == 0 && full && len(line) <= maxLine { // the usual case
			e.add(s, 'F', line)
			continue
		}
		l.pending[s] = append(l.pending[s], line...)
		// As containerd does it: a line of exactly maxLine bytes is whole, one byte more splits it.
		for len(l.pending[s]) > maxLine {
			e.add(s, 'P', l.pending[s][:maxLine])
			l.pending[s] = append(l.pending[s][:0], l.pending[s][maxLine:]...)
		}
		if full {
			e.add(s, 'F', l.pending[s])
			l.pending[s] = nil
		}
	}
	e.flush()
	return e.err
}

// Flush writes unfinished lines as partial entries: the stream has ended.
func (l *File) Flush() error {
	e := l.entries()
	defer e.release()
	for s, line := range l.pending {
		if len(line) > 0 {
			e.add(Stream(s), 'P', line)
			l.pending[s] = nil
		}
	}
	e.flush()
	return e.err
}

// entries are being gathered for one write or several.
type entries struct {
	log    *File
	buffer *[]byte
	out    []byte
	stamp  []byte // all of one call carry the same time
	err    error
}

func (l *File) entries() *entries {
	buffer := buffers.Get().(*[]byte)
	return &entries{log: l, buffer: buffer, out: (*buffer)[:0], stamp: l.now().UTC().AppendFormat(nil, time.RFC3339Nano)}
}

func (e *entries) release() { buffers.Put(e.buffer) }

func (e *entries) add(s Stream, tag byte, line []byte) {
	e.out = append(e.out, e.stamp...)
	e.out = append(e.out, ' ')
	e.out = append(e.out, streamNames[s]...)
	e.out = append(e.out, ' ', tag, ' ')
	e.out = append(e.out, line...)
	e.out = append(e.out, '\n')
	if len(e.out) >= flushAt {
		e.flush()
	}
}

// flush writes the entries with one system call, into a new file when the old one is full.
func (e *entries) flush() {
	l, out := e.log, e.out
	e.out = e.out[:0]
	if len(out) == 0 {
		return
	}
	if l.limits.Size > 0 && l.size > 0 && l.size+int64(len(out)) > l.limits.Size {
		e.err = errors.Join(e.err, l.rotate())
	}
	if l.file == nil {
		e.err = errors.Join(e.err, fmt.Errorf("log %s: not open", l.path))
		return
	}
	if l.torn { // what comes next is not the rest of what there was no room for
		out = append([]byte{'\n'}, out...)
	}
	n, err := l.file.Write(out)
	l.size += int64(n)
	if n > 0 {
		l.torn = out[n-1] != '\n'
	}
	e.err = errors.Join(e.err, err)
}

// rotate moves the full file away under the name a kubelet would give it and starts a new one.
func (l *File) rotate() error {
	files, err := Rotated(l.path)
	if err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	if err := os.Rename(l.path, RotatedName(l.path, files, l.now())); err != nil && !errors.Is(err, os.ErrNotExist) {
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
	old, err := Rotated(l.path)
	if err != nil {
		return err
	}
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
