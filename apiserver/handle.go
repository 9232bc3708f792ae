package apiserver

import (
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/user"

	"clipper/apiserver/h2"
)

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.options.Browsers.headers(w, r) {
		return
	}
	q := &request{s: s, w: w, r: r, info: parseInfo(r), start: time.Now()}
	q.long = isLongRunning(&q.info)
	q.identify()
	if q.info.incomplete {
		q.refuseIncomplete()
		return
	}
	q.goAway()
	if !s.inflight.enter(q) {
		q.refuseLate()
		return
	}
	defer q.done()
	defer func() {
		if cause := recover(); cause != nil {
			if cause == http.ErrAbortHandler {
				s.metrics.aborted(q)
				panic(cause)
			}
			q.recovered(cause, debug.Stack())
		}
	}()
	cancel, err := q.timeLimit()
	if cancel != nil {
		defer cancel()
	}
	if err == nil {
		err = q.identifyUser()
	}
	if err != nil {
		q.fail(err)
		return
	}
	if !q.admit() {
		return
	}
	if err := q.mayProceed(); err != nil {
		q.fail(err)
		return
	}
	q.routed = true
	q.route()
}

// done is the last that is heard of a request.
func (q *request) done() {
	now := time.Now()
	q.leaveLane()
	q.release()
	q.endAudit(now)
	if q.endSpan != nil {
		q.endSpan(q.code)
	}
	q.s.inflight.leave(q, now)
	q.s.metrics.observe(q, now)
}

// identifyUser finds out who asks, and in whose name.
func (q *request) identifyUser() error {
	err := q.authenticate()
	if err != nil {
		q.s.metrics.identity.authentication("", err, time.Since(q.start))
		q.refused()
		return err
	}
	q.s.metrics.identity.authentication(q.user.GetName(), nil, time.Since(q.start))
	if c, ok := q.w.(h2.Shared); ok && q.user.GetName() != user.Anonymous {
		c.Connection().Trust()
	}
	q.startSpan()
	if err := q.received(); err != nil {
		return err
	}
	self := q.user
	if err = q.impersonate(); err == nil && q.user != self && q.record != nil {
		q.record.LogImpersonatedUser(q.user, q.constraint)
	}
	q.believeType(err)
	return err
}

// believeType tells browsers to believe the type of an answer that refuses for want of a right, as upstream does there and
// nowhere else among the errors of the API.
func (q *request) believeType(err error) {
	if apierrors.IsForbidden(err) {
		q.w.Header().Set("X-Content-Type-Options", "nosniff")
	}
}

func (q *request) mayProceed() error {
	start := time.Now()
	reason, err := q.s.decide(q.r.Context(), q.attributes())
	q.s.metrics.identity.authorization(err, time.Since(start))
	q.decided(reason, err)
	q.believeType(err)
	return err
}

// refuseLate turns away a request that comes when the server is closing.
func (q *request) refuseLate() {
	q.w.Header().Set("Connection", "close")
	if q.s.limits.ShutdownRetryAfter {
		q.refuse(http.StatusTooManyRequests, 5, "The apiserver is shutting down, please try again later.")
		return
	}
	q.w.Header().Set("Retry-After", "1")
	q.fail(apierrors.NewServiceUnavailable("apiserver is shutting down"))
}

// refuseIncomplete turns away a path that has an old verb and nothing behind it. Upstream does so before it asks who is
// there, and takes the fault upon itself.
func (q *request) refuseIncomplete() {
	q.w.Header().Del("Cache-Control")
	http.Error(q.w, noMarkup.Replace(fmt.Sprintf("Internal Server Error: %q: failed to create RequestInfo: unable to determine kind and namespace from url, %v",
		q.r.RequestURI, q.r.URL)), http.StatusInternalServerError)
}

// route finds what the path is about.
func (q *request) route() {
	if e := q.extension(); e != nil {
		q.passOn(e)
		return
	}
	if !q.info.IsResource {
		q.serveOther()
		return
	}
	q.kind = q.s.pipeline.Table().Lookup(q.info.Group, q.info.Version, q.info.Resource)
	switch {
	case q.kind == nil:
		q.notFound()
	case q.info.Group == "" && q.info.Resource == "componentstatuses" && q.info.Subresource == "":
		q.componentStatuses()
	default:
		q.serveResource()
	}
}
