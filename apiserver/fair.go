package apiserver

import (
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"

	"clipper/apiserver/fairness"
	"clipper/apiserver/pipeline"
	"clipper/catalogue"
)

// admit waits until the server has room for the request. False: it had none, and the client has been told.
func (q *request) admit() bool {
	switch {
	case q.long && q.info.Verb != "watch":
		return true // it is not the server that does the work
	case q.s.options.Fairness != nil:
		return q.takeSeat()
	case q.s.options.InFlight != nil:
		return q.takePlace()
	}
	return true
}

func (q *request) takeSeat() bool {
	in := &q.info
	q.seat.Request = fairness.Request{
		User: q.user, IsResource: in.IsResource, Verb: in.Verb, Path: in.Path,
		Group: in.Group, Version: in.Version, Resource: in.Resource, Subresource: in.Subresource,
		Namespace: in.Namespace, Name: in.Name,
	}
	if in.Verb == "list" || in.Verb == "watch" {
		q.seat.Request.Query = q.query()
	}
	ok := q.s.options.Fairness.Admit(q.r.Context(), &q.seat, q.queueLimit())
	q.seat.SetHeaders(q.w.Header())
	if !ok {
		q.tooMany(q.s.options.Fairness.RetryAfter(&q.seat))
	}
	return ok
}

// queueLimit is how long the request may wait: a quarter of its time.
func (q *request) queueLimit() time.Duration {
	limit := q.s.limits.Request
	if q.limit > 0 {
		limit = q.limit
	}
	return min(limit/4, time.Minute)
}

func (q *request) takePlace() bool {
	leave, ok := q.s.options.InFlight.Enter(q.info.writes() == 1)
	switch {
	case ok:
		q.leave = leave
	case slices.Contains(q.user.GetGroups(), user.SystemPrivilegedGroup): // always gets an answer
		return true
	default:
		q.tooMany(1)
	}
	return ok
}

// release says that the request no longer occupies the server, though it may go on. It may be called again.
func (q *request) release() {
	if q.s.options.Fairness != nil {
		q.s.options.Fairness.Release(&q.seat)
	}
	if q.leave != nil {
		q.leave()
		q.leave = nil
	}
}

// watching counts the request as a watch, for what it makes of the cost of writes.
func (q *request) watching() (forget func()) {
	if q.s.options.Fairness == nil {
		return func() {}
	}
	return q.s.options.Fairness.Watching(&q.seat)
}

// lanes are the places for requests that keep a processor busy for long: one for each processor but the
// last, which stays free for short requests. Seats alone do not see to that, for there are hundreds.
type lanes chan struct{}

func newLanes() lanes { return make(lanes, max(1, runtime.GOMAXPROCS(0)-1)) }

// longList is from how many objects on a list takes a lane, largeList from how many bytes.
const (
	longList  = 200
	largeList = 1 << 20
)

// takeLane waits for a lane if the request is for a long list. Whoever waits has a seat already.
func (q *request) takeLane() {
	if limit, err := strconv.Atoi(q.query().Get("limit")); err == nil && limit > 0 && limit < longList {
		return
	}
	if !q.s.isLong(q.kind.Resource) {
		return
	}
	select {
	case q.s.lanes <- struct{}{}:
		q.inLane = true
	case <-q.r.Context().Done():
	}
}

// isLong says whether a list of all objects keeps a processor busy for long.
func (s *Server) isLong(r *catalogue.Resource) bool {
	if r.Prefix == "" {
		return false
	}
	snap := s.pipeline.Snapshot(&pipeline.Request{Resource: r})
	n := snap.Len("")
	return n >= longList || n > 0 && n*snap.MeanSize() >= largeList
}

// leaveLane may be called again.
func (q *request) leaveLane() {
	if q.inLane {
		q.inLane = false
		<-q.s.lanes
	}
}

func (q *request) tooMany(after int64) {
	q.s.metrics.terminated(q, http.StatusTooManyRequests)
	q.refuse(http.StatusTooManyRequests, after, "Too many requests, please try again later.")
}

// refuse answers in plain text: whoever is refused this early may not even be an API client.
func (q *request) refuse(code int, after int64, text string) {
	q.w.Header().Set("Retry-After", strconv.FormatInt(after, 10))
	q.code, q.wrote, q.routed = code, true, true
	http.Error(q.w, text, code)
}
