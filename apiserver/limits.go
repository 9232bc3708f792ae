package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Limits bound what requests may cost. The zero value has upstream's defaults.
type Limits struct {
	Request  time.Duration // for a request that is not long-running; 0: one minute
	MinWatch time.Duration // a watch lasts one to two times this; 0: half an hour
	// GoAwayChance is the probability that an HTTP/2 client is asked to connect anew, so that clients
	// spread over several servers.
	GoAwayChance float64
	// MaxStreams is how many HTTP/2 requests a client may have at once on a connection; 0: 100, and 1000 as soon as it has
	// made one that it was known by. Those who have hundreds of watches then need not connect as often.
	MaxStreams int
	// ShutdownDelay is how long the server goes on serving while /readyz fails already: load balancers
	// need time to notice.
	ShutdownDelay time.Duration
	// WatchGrace is how long, at most, watches are given to end one after the other when the server closes, so that not
	// all of their clients connect anew at once; 0: they end together.
	WatchGrace time.Duration
	// ShutdownRetryAfter answers 429 to requests that come after that delay, in place of 503.
	ShutdownRetryAfter bool
	// StreamRate is how many bytes a second a stream to a pod or a proxied connection may move; 0: no limit.
	StreamRate int64
	// LivezGrace is how long after the start /livez takes it that parts which are not ready will be.
	LivezGrace time.Duration
}

func (l *Limits) complete() {
	if l.Request <= 0 {
		l.Request = time.Minute
	}
	if l.MinWatch <= 0 {
		l.MinWatch = 30 * time.Minute
	}
}

// isLongRunning says whether a request lasts for as long as its client likes. Upstream's list.
func isLongRunning(in *info) bool {
	if !in.IsResource {
		return strings.HasPrefix(in.Path, "/debug/pprof/")
	}
	switch in.Verb {
	case "watch", "proxy":
		return true
	}
	switch in.Subresource {
	case "attach", "exec", "proxy", "log", "portforward":
		return true
	}
	return false
}

// timeLimit makes the request end when its client wants it to, by ?timeout=. The server's own limit needs
// no timer for each request: see inflight.
func (q *request) timeLimit() (cancel context.CancelFunc, err error) {
	if q.long || !strings.Contains(q.r.URL.RawQuery, "timeout=") {
		return nil, nil
	}
	text := q.query().Get("timeout")
	if text == "" {
		return nil, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid timeout specified in the request URL - %s", err))
	}
	if d <= 0 || d >= q.s.limits.Request {
		return nil, nil
	}
	q.limit = d
	ctx, cancel := context.WithDeadline(q.r.Context(), q.start.Add(d))
	q.r = q.r.WithContext(ctx)
	return cancel, nil
}

// errOverdue is what clients hear of a request whose time was up.
var errOverdue = apierrors.NewTimeoutError("request did not complete within the allotted timeout", 0)

// overdue says whether the request's time was up when err came of it.
func (q *request) overdue(err error) bool {
	if q.cut.Load() && (errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.Canceled)) { // so that ends what it waits for
		return true
	}
	if !errors.Is(q.r.Context().Err(), context.DeadlineExceeded) {
		return false
	}
	q.s.metrics.terminated(q, http.StatusGatewayTimeout)
	return true
}

// failOverdue answers as upstream's outermost handler does: without a kind, in whatever form. client-go makes words of
// its own of that.
func (q *request) failOverdue(err error) {
	q.s.log.Error("request not answered in time", "method", q.r.Method, "path", q.r.URL.Path, "limit", q.limit, "err", err)
	body, err := json.Marshal(errOverdue.ErrStatus)
	if err != nil {
		body = []byte(errOverdue.Error())
	}
	out := q.begin(http.StatusGatewayTimeout, "text/plain; charset=utf-8", len(body)+1)
	defer out.Close()
	_, _ = out.Write(append(body, '\n')) // the client may be gone
}

// timeoutError turns the end of a time that a part of the request was given into what clients see of it.
func timeoutError(err error) error {
	var status apierrors.APIStatus
	if !errors.Is(err, context.DeadlineExceeded) || errors.As(err, &status) {
		return err
	}
	return apierrors.NewTimeoutError(fmt.Sprintf("request did not complete within requested timeout - %s", context.DeadlineExceeded), 0)
}

// goAway asks an HTTP/2 client to connect anew, now and then.
func (q *request) goAway() {
	if chance := q.s.limits.GoAwayChance; chance > 0 && q.r.ProtoMajor == 2 && rand.Float64() < chance {
		q.w.Header().Set("Connection", "close")
	}
}
