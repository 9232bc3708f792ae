package logs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"clipper/node/runtime/embedded/crilog"
)

// Options say what of a log is wanted.
type Options struct {
	Follow     bool // go on until the container has ended
	Timestamps bool
	Since      time.Time
	Tail       int64 // lines from the end of the current file; -1: all
	Limit      int64 // bytes; -1: all
}

// errEnough ends reading when Limit bytes are written.
var errEnough = errors.New("limit reached")

// Read writes what the log at path says to w. alive reports whether the container still runs, and flush passes on
// what was written; both are only asked where Follow is. Only the current file is read, as by a kubelet: what was
// rotated away before is for collectors. Who follows sees every line once, whatever is rotated meanwhile.
func Read(ctx context.Context, path string, o Options, w io.Writer, alive func() bool, flush func()) error {
	evaluated, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("failed to try resolving symlinks in path %q: %w", path, err)
	}
	f, err := os.Open(evaluated)
	if err != nil {
		return fmt.Errorf("failed to open log file %q: %w", evaluated, err)
	}
	r := &reader{path: evaluated, file: f, out: entryWriter{w: w, o: o, left: o.Limit, fresh: true}}
	defer func() { r.file.Close() }()
	if o.Tail >= 0 {
		at, err := tailOffset(f, o.Tail)
		if err != nil {
			return fmt.Errorf("failed to tail %d lines of log file %q: %w", o.Tail, evaluated, err)
		}
		if _, err := f.Seek(at, io.SeekStart); err != nil {
			return fmt.Errorf("failed to seek %d in log file %q: %w", at, evaluated, err)
		}
	}
	if o.Follow {
		err = r.follow(ctx, alive, flush)
	} else {
		err = r.rest(ctx, o.Tail)
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// A reader is at some place of a log.
type reader struct {
	path string
	file *os.File
	buf  *bufio.Reader
	part []byte // the beginning of a line that is still being written
	out  entryWriter
}

// rest reads to the end, or as many lines as are wanted: the log may grow meanwhile.
func (r *reader) rest(ctx context.Context, lines int64) error {
	if err := r.lines(ctx, lines); err != nil {
		return err
	}
	if len(r.part) > 0 && lines != 0 {
		return r.out.entry(r.part)
	}
	return nil
}

// lines reads what whole lines there are, at most n of them; all if n is negative.
func (r *reader) lines(ctx context.Context, n int64) error {
	if r.buf == nil {
		r.buf = bufio.NewReader(r.file)
	}
	for ; n != 0; n-- {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := r.buf.ReadBytes('\n')
		r.part = append(r.part, b...)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("failed to read log file %q: %w", r.path, err)
		}
		line := r.part
		r.part = nil
		if err := r.out.entry(line); err != nil {
			return err
		}
	}
	return nil
}

// follow reads on until the container has ended.
func (r *reader) follow(ctx context.Context, alive func() bool, flush func()) error {
	watch, err := newWatcher(ctx, filepath.Dir(r.path))
	if err != nil {
		return err
	}
	defer watch.close()
	for {
		ended := !alive() // asked before reading: what it said last is then in the file
		if err := r.lines(ctx, -1); err != nil {
			return err
		}
		moved, err := r.advance(ctx)
		if err != nil {
			return err
		}
		if moved {
			continue
		}
		flush()
		if ended || !watch.wait(ctx) {
			return ctx.Err()
		}
	}
}

// advance goes on to the file that came after this one, if there is one: nothing more is written to this one then.
func (r *reader) advance(ctx context.Context) (bool, error) {
	next, err := successor(r.file, r.path)
	if err != nil || next == nil {
		return false, err
	}
	if err := r.lines(ctx, -1); err != nil { // written after it was read to its end and before the next began
		next.Close()
		return false, err
	}
	r.file.Close()
	r.file, r.buf, r.part = next, nil, nil
	return true, nil
}

// successor returns the file into which the log went on after f, or nil: of those that were rotated away since f
// was, the oldest, else the current one.
func successor(f *os.File, path string) (*os.File, error) {
	own, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// Opened first: what is rotated away from now on comes after it.
	current, err := os.Open(path)
	if err != nil {
		current = nil // between two names
	} else if info, err := current.Stat(); err != nil || os.SameFile(own, info) {
		current.Close()
		return nil, err
	}
	files, err := crilog.Rotated(path)
	if err != nil {
		return current, nil //nolint:nilerr // the folder goes; what is open can still be read
	}
	if next := openAfter(own, files); next != nil {
		if current != nil {
			current.Close()
		}
		return next, nil
	}
	return current, nil
}

// openAfter opens the file that comes after own in files, or returns nil. Where own has been compressed meanwhile,
// that is the oldest that has not: they are compressed in order.
func openAfter(own os.FileInfo, files []string) *os.File {
	found := false
	if st, ok := own.Sys().(*syscall.Stat_t); ok && st.Nlink == 0 {
		found = true
	}
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil || filepath.Ext(name) == compressed || filepath.Ext(name) == temporary {
			continue
		}
		if !found {
			found = os.SameFile(own, info)
			continue
		}
		if next, err := os.Open(name); err == nil {
			return next
		}
	}
	return nil
}

// stampOut is how timestamps are shown: all of the same width.
const stampOut = "2006-01-02T15:04:05.000000000Z07:00"

// An entryWriter turns entries of a CRI log into what a user sees.
type entryWriter struct {
	w     io.Writer
	o     Options
	left  int64 // -1: no limit
	fresh bool  // the last entry ended its line
	known bool  // the format is
}

// entry takes one line of the file: "<time> <stream> <P|F> <text>\n". What is none is passed over; a file that
// begins with such is not a log.
func (l *entryWriter) entry(line []byte) error {
	stamp, text, ok := parseEntry(line)
	if !ok {
		if !l.known {
			return fmt.Errorf("failed to get parse function: unsupported log format: %.200q", line)
		}
		return nil
	}
	l.known = true
	if stamp.Before(l.o.Since) {
		return nil
	}
	if l.o.Timestamps && l.fresh {
		text = append(append(stamp.AppendFormat(nil, stampOut), ' '), text...)
	}
	if l.left >= 0 && int64(len(text)) > l.left {
		text = text[:l.left]
	}
	n, err := l.w.Write(text)
	if err != nil {
		return err
	}
	l.fresh = len(text) == 0 || text[len(text)-1] == '\n'
	if l.left >= 0 {
		if l.left -= int64(n); l.left == 0 {
			return errEnough
		}
	}
	return nil
}

// parseEntry takes an entry apart. The text of a partial one has no end of line.
func parseEntry(line []byte) (stamp time.Time, text []byte, ok bool) {
	first, rest, ok1 := bytes.Cut(line, []byte(" "))
	stream, rest, ok2 := bytes.Cut(rest, []byte(" "))
	tags, text, ok3 := bytes.Cut(rest, []byte(" "))
	if !ok1 || !ok2 || !ok3 || string(stream) != "stdout" && string(stream) != "stderr" {
		return time.Time{}, nil, false
	}
	stamp, err := time.Parse(time.RFC3339Nano, string(first))
	if err != nil {
		return time.Time{}, nil, false
	}
	if tag, _, _ := bytes.Cut(tags, []byte(":")); string(tag) == "P" {
		text = bytes.TrimSuffix(text, []byte("\n"))
	}
	return stamp, text, true
}

// tailOffset returns where the last n whole lines of f begin. What is still being written is not one of them.
func tailOffset(f *os.File, n int64) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 64<<10)
	ends := int64(-1) // ends of lines seen beyond the first, which is that of the last whole line
	for pos := info.Size(); pos > 0; {
		size := min(int64(len(buf)), pos)
		pos -= size
		if _, err := f.ReadAt(buf[:size], pos); err != nil {
			return 0, err
		}
		for i := size - 1; i >= 0; i-- {
			if buf[i] != '\n' {
				continue
			}
			if ends++; ends == n {
				return pos + i + 1, nil
			}
		}
	}
	return 0, nil
}
