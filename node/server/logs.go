package server

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"clipper/node/runtime"
)

// logOptions are the parameters of a request for logs.
type logOptions struct {
	follow, previous, timestamps bool
	since                        time.Time
	tail, limit                  int64 // -1: all
	stream                       string
}

func parseLogOptions(q url.Values, now time.Time) (o logOptions, err error) {
	var errs []error
	flag := func(name string) bool {
		v := q.Get(name)
		if v == "" {
			return false
		}
		b, err := strconv.ParseBool(v)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: Invalid value: %q: must be a boolean", name, v))
		}
		return b
	}
	number := func(name string, least int64) int64 {
		v := q.Get(name)
		if v == "" {
			return -1
		}
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < least {
			errs = append(errs, fmt.Errorf("%s: Invalid value: %q: must be greater than or equal to %d", name, v, least))
		}
		return n
	}
	o.follow, o.previous, o.timestamps = flag("follow"), flag("previous"), flag("timestamps")
	o.tail, o.limit = number("tailLines", 0), number("limitBytes", 1)
	if n := number("sinceSeconds", 1); n > 0 {
		o.since = now.Add(-time.Duration(n) * time.Second)
	}
	if v := q.Get("sinceTime"); v != "" {
		if o.since, err = time.Parse(time.RFC3339, v); err != nil {
			errs = append(errs, fmt.Errorf("sinceTime: Invalid value: %q: %w", v, err))
		}
	}
	switch o.stream = q.Get("stream"); o.stream {
	case "", "All":
		o.stream = ""
	case "Stdout":
		o.stream = "stdout"
	case "Stderr":
		o.stream = "stderr"
	default:
		errs = append(errs, fmt.Errorf("stream: Unsupported value: %q", o.stream))
	}
	return o, errors.Join(errs...)
}

func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	opts, err := parseLogOptions(r.URL.Query(), time.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	name := r.PathValue("container")
	var pod Pod
	for _, p := range s.cfg.Pods() {
		if obj, _ := p.Status(); obj.Namespace == r.PathValue("ns") && obj.Name == r.PathValue("pod") {
			pod = p
		}
	}
	if pod == nil {
		http.Error(w, fmt.Sprintf("pod %q not found\n", r.PathValue("pod")), http.StatusNotFound)
		return
	}
	obj, st := pod.Status()
	if findContainer(obj, name) == nil {
		http.Error(w, fmt.Sprintf("container %q not found in pod %q\n", name, obj.Name), http.StatusNotFound)
		return
	}
	c, err := logSource(pod, &st, obj.Name, name, opts.previous)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	out := &flusher{w: w, rc: http.NewResponseController(w)}
	lw := &logWriter{out: out, opts: opts, left: opts.limit, fresh: true}
	if opts.follow {
		out.flush() // the headers: the container may say nothing for long
	}
	alive := func() bool {
		cur, _ := pod.Container(name)
		return cur != nil && cur.ID == c.ID && cur.State != runtime.Exited
	}
	if err := readLog(r.Context(), c.LogPath, lw, alive); err != nil && !errors.Is(err, errEnough) && r.Context().Err() == nil {
		fmt.Fprintf(w, "failed to read the container's log: %v\n", err)
	}
}

// logSource picks the attempt whose log is wanted, or says why there is none.
func logSource(p Pod, st *corev1.PodStatus, pod, name string, previous bool) (*runtime.ContainerStatus, error) {
	cur, prev := p.Container(name)
	var state corev1.ContainerStatus
	for _, list := range [][]corev1.ContainerStatus{st.ContainerStatuses, st.InitContainerStatuses, st.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				state = list[i]
			}
		}
	}
	switch w := state.State.Waiting; {
	case previous:
		last := prev
		if w != nil && cur != nil && cur.State == runtime.Exited {
			last = cur // between two attempts the one that ended is the previous
		}
		if last == nil {
			return nil, fmt.Errorf("previous terminated container %q in pod %q not found", name, pod)
		}
		return last, nil
	case cur != nil:
		return cur, nil
	case w == nil:
		return nil, fmt.Errorf("container %q in pod %q is not available", name, pod)
	case w.Reason == "ErrImagePull":
		return nil, fmt.Errorf("container %q in pod %q is waiting to start: image can't be pulled", name, pod)
	case w.Reason == "ImagePullBackOff":
		return nil, fmt.Errorf("container %q in pod %q is waiting to start: trying and failing to pull image", name, pod)
	default:
		return nil, fmt.Errorf("container %q in pod %q is waiting to start: %s", name, pod, w.Reason)
	}
}

// flusher passes on what was written whenever the reader has caught up with the log.
type flusher struct {
	w  io.Writer
	rc *http.ResponseController
}

func (f *flusher) flush() { f.rc.Flush() } //nolint:errcheck // the caller has gone

// errEnough ends reading when limitBytes are written.
var errEnough = errors.New("limit reached")

// logWriter turns entries of a CRI log into what a user sees.
type logWriter struct {
	out   *flusher
	opts  logOptions
	left  int64 // -1: no limit
	fresh bool  // the last entry ended its line
}

// entry takes one line of the file: "<time> <stream> <P|F> <text>\n".
func (l *logWriter) entry(line []byte) error {
	stamp, rest, ok1 := bytes.Cut(line, []byte(" "))
	stream, rest, ok2 := bytes.Cut(rest, []byte(" "))
	tag, text, ok3 := bytes.Cut(rest, []byte(" "))
	if !ok1 || !ok2 || !ok3 {
		return nil // not an entry: skipped, as upstream
	}
	if l.opts.stream != "" && l.opts.stream != string(stream) {
		return nil
	}
	if !l.opts.since.IsZero() {
		if t, err := time.Parse(time.RFC3339Nano, string(stamp)); err == nil && t.Before(l.opts.since) {
			return nil
		}
	}
	partial := bytes.HasPrefix(tag, []byte("P"))
	if partial {
		text = bytes.TrimSuffix(text, []byte("\n"))
	}
	if l.opts.timestamps && l.fresh {
		text = append(append(bytes.Clone(stamp), ' '), text...)
	}
	l.fresh = !partial
	if l.left >= 0 && int64(len(text)) >= l.left {
		text = text[:l.left]
	}
	if _, err := l.out.w.Write(text); err != nil {
		return errEnough
	}
	if l.left >= 0 {
		if l.left -= int64(len(text)); l.left == 0 {
			return errEnough
		}
	}
	return nil
}

// readLog passes on the log at path and, if asked to follow, what is added while the container lives, also
// across rotations.
func readLog(ctx context.Context, path string, l *logWriter, alive func() bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { f.Close() }()
	if l.opts.tail >= 0 {
		at, err := tailOffset(f, l.opts.tail)
		if err != nil {
			return err
		}
		if _, err := f.Seek(at, io.SeekStart); err != nil {
			return err
		}
	}
	var watch *watcher
	if l.opts.follow {
		if watch, err = newWatcher(ctx, filepath.Dir(path)); err != nil {
			return err
		}
		defer watch.close()
	}
	r := &lineReader{r: bufio.NewReader(f)}
	for {
		ended := !l.opts.follow || !alive() // asked before reading: what it said last is then in the file
		if err := r.each(l.entry); err != nil {
			return err
		}
		next, err := reopen(f, path)
		if err != nil {
			return err
		}
		if next != nil {
			f.Close()
			f, r = next, &lineReader{r: bufio.NewReader(next)}
			continue
		}
		l.out.flush()
		if ended || !watch.wait(ctx) {
			return ctx.Err()
		}
	}
}

// reopen returns the file now at path if it is another than f.
func reopen(f *os.File, path string) (*os.File, error) {
	next, err := os.Open(path)
	if err != nil {
		return nil, nil //nolint:nilerr // removed, or between two names: the one at hand is all there is
	}
	a, err1 := f.Stat()
	b, err2 := next.Stat()
	if err := errors.Join(err1, err2); err != nil || os.SameFile(a, b) {
		next.Close()
		return nil, err
	}
	return next, nil
}

// lineReader reads whole lines from a file that is being written; the beginning of a line waits for its end.
type lineReader struct {
	r    *bufio.Reader
	part []byte
}

func (l *lineReader) each(fn func([]byte) error) error {
	for {
		b, err := l.r.ReadBytes('\n')
		l.part = append(l.part, b...)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		line := l.part
		l.part = nil
		if err := fn(line); err != nil {
			return err
		}
	}
}

// tailOffset returns where the last n lines of f begin.
func tailOffset(f *os.File, n int64) (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	end := st.Size()
	if n == 0 {
		return end, nil
	}
	buf := make([]byte, 64<<10)
	var seen int64
	for pos := end; pos > 0; {
		size := min(int64(len(buf)), pos)
		pos -= size
		if _, err := f.ReadAt(buf[:size], pos); err != nil {
			return 0, err
		}
		for i := size - 1; i >= 0; i-- {
			if buf[i] != '\n' || pos+i == end-1 {
				continue
			}
			if seen++; seen == n {
				return pos + i + 1, nil
			}
		}
	}
	return 0, nil
}

// watcher waits for changes in a directory: the log's growth, its rotation.
type watcher struct {
	file *os.File
	stop func() bool
}

func newWatcher(ctx context.Context, dir string) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch the log: %w", err)
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_DELETE|unix.IN_CLOSE_WRITE); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	return &watcher{file: f, stop: context.AfterFunc(ctx, func() { f.Close() })}, nil
}

// recheck is how long to wait at most: a container may end without another word in its log.
const recheck = 500 * time.Millisecond

// wait returns at the next change or after a while; false when ctx has ended.
func (w *watcher) wait(ctx context.Context) bool {
	if err := w.file.SetReadDeadline(time.Now().Add(recheck)); err != nil {
		return ctx.Err() == nil && !errors.Is(err, os.ErrClosed)
	}
	var buf [4096]byte
	_, err := w.file.Read(buf[:])
	return err == nil || (errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil)
}

func (w *watcher) close() {
	w.stop()
	w.file.Close()
}
