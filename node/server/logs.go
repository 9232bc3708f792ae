package server

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"clipper/api/containers"
	"clipper/node/logs"
	"clipper/node/runtime"
)

// Answers to requests that cannot be understood: text in the form of JSON, as a kubelet's.
var (
	errBadQuery   = errors.New(`{"message": "Unable to decode query."}`)
	errBadRequest = errors.New(`{"message": "Invalid request."}`)
)

// parseLogOptions reads the parameters of a request for logs. The error is one of those above.
func parseLogOptions(q url.Values, now time.Time) (logs.Options, error) {
	d := logQuery{values: q}
	o := logs.Options{Follow: d.flag("follow"), Timestamps: d.flag("timestamps"), Tail: d.number("tailLines", 0), Limit: d.number("limitBytes", 1)}
	if tail := q.Get("tail"); tail != "" && tail != "all" { // an old name
		o.Tail = d.number("tail", 0)
	}
	seconds := d.number("sinceSeconds", 1)
	if seconds > 0 {
		o.Since = now.Add(-time.Duration(seconds) * time.Second)
	}
	if v := q.Get("sinceTime"); v != "" {
		t, err := time.Parse(time.RFC3339, v)
		d.bad = d.bad || err != nil
		d.invalid = d.invalid || seconds > 0 // at most one of the two
		o.Since = t
	}
	switch {
	case d.bad:
		return o, errBadQuery
	case d.invalid:
		return o, errBadRequest
	}
	return o, nil
}

// logQuery decodes parameters as upstream's codec does.
type logQuery struct {
	values       url.Values
	bad, invalid bool
}

// flag is set by whatever is not "false", the empty value included.
func (d *logQuery) flag(name string) bool {
	v := d.values[name]
	return len(v) > 0 && !strings.EqualFold(v[0], "false")
}

// number returns -1 for a parameter that is not there.
func (d *logQuery) number(name string, least int64) int64 {
	v := d.values.Get(name)
	if v == "" {
		return -1
	}
	n, err := strconv.ParseInt(v, 10, 64)
	d.bad = d.bad || err != nil
	d.invalid = d.invalid || n < least
	return n
}

func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	opts, err := parseLogOptions(query, time.Now())
	switch {
	case errors.Is(err, errBadRequest):
		plainError(w, http.StatusUnprocessableEntity, err)
		return
	case err != nil:
		plainError(w, http.StatusBadRequest, err)
		return
	}
	ns, name, container := r.PathValue("ns"), r.PathValue("pod"), r.PathValue("container")
	pods := s.cfg.Pods()
	i := slices.IndexFunc(pods, func(p Pod) bool { obj, _ := p.Status(); return obj.Namespace == ns && obj.Name == name })
	if i < 0 {
		plainError(w, http.StatusNotFound, fmt.Errorf("pod %q does not exist", name))
		return
	}
	pod := pods[i]
	obj, st := pod.Status()
	if containers.Named(&obj.Spec, container) == nil {
		plainError(w, http.StatusNotFound, fmt.Errorf("container %q not found in pod %q", container, name))
		return
	}
	// A single stream can be asked for where a feature allows it that is not on by default.
	if stream := query.Get("stream"); stream != "" && stream != corev1.LogStreamAll {
		plainError(w, http.StatusBadRequest, fmt.Errorf("unable to return the given log stream: %q. Please enable PodLogsQuerySplitStreams feature gate in kubelet", stream))
		return
	}
	c, err := logSource(pod, &st, name, container, (&logQuery{values: query}).flag("previous"))
	if err != nil {
		plainError(w, http.StatusBadRequest, err)
		return
	}
	alive := func() bool {
		cur, _ := pod.Container(container)
		return cur != nil && cur.ID == c.ID && cur.State != runtime.Exited
	}
	w.Header().Set("Content-Type", "text/plain")
	flush := func() { http.NewResponseController(w).Flush() } //nolint:errcheck // the caller has gone
	flush()                                                   // the headers: the container may say nothing for long
	if err := logs.Read(r.Context(), c.LogPath, opts, w, alive, flush); err != nil && r.Context().Err() == nil {
		fmt.Fprint(w, err)
	}
}

func plainError(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	fmt.Fprint(w, err)
}

// logSource picks the container whose log is wanted, or says why there is none.
func logSource(p Pod, st *corev1.PodStatus, pod, name string, previous bool) (*runtime.ContainerStatus, error) {
	id, err := logContainer(st, pod, name, previous)
	if err != nil {
		return nil, err
	}
	cur, prev := p.Container(name)
	for _, c := range []*runtime.ContainerStatus{cur, prev} {
		if c != nil && strings.HasSuffix(id, "://"+c.ID) {
			return c, nil
		}
	}
	return nil, fmt.Errorf("unable to retrieve container logs for %v", id)
}

// logContainer returns the ID of the container whose log a status points to.
func logContainer(st *corev1.PodStatus, pod, name string, previous bool) (string, error) {
	var s *corev1.ContainerStatus
	for of := range containers.Statuses(st) {
		if of.Name == name {
			s = of
		}
	}
	if s == nil {
		return "", fmt.Errorf("container %q in pod %q is not available", name, pod)
	}
	last := ""
	if t := s.LastTerminationState.Terminated; t != nil {
		last = t.ContainerID
	}
	switch t, w := s.State.Terminated, s.State.Waiting; {
	case previous && last == "":
		return "", fmt.Errorf("previous terminated container %q in pod %q not found", name, pod)
	case previous:
		return last, nil
	case s.State.Running != nil:
		return s.ContainerID, nil
	case t != nil && t.ContainerID != "":
		return t.ContainerID, nil
	case last != "":
		return last, nil
	case t != nil || s.LastTerminationState.Terminated != nil:
		return "", fmt.Errorf("container %q in pod %q is terminated", name, pod)
	case w == nil:
		return "", fmt.Errorf("container %q in pod %q is waiting to start - no logs yet", name, pod)
	case w.Reason == "ErrImagePull":
		return "", fmt.Errorf("container %q in pod %q is waiting to start: image can't be pulled", name, pod)
	case w.Reason == "ImagePullBackOff":
		return "", fmt.Errorf("container %q in pod %q is waiting to start: trying and failing to pull image", name, pod)
	}
	return "", fmt.Errorf("container %q in pod %q is waiting to start: %v", name, pod, s.State.Waiting.Reason)
}
