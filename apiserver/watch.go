package apiserver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"clipper/apiserver/pipeline"
	"clipper/store"
)

const (
	// bookmarkEvery is how often a quiet watch learns the current revision. Upstream's figure.
	bookmarkEvery = time.Minute
	// initialEnd marks the bookmark behind the initial events of a watch-list.
	initialEnd = metav1.InitialEventsAnnotationKey
)

// A watcher streams one client's view of a resource.
type watcher struct {
	q         *request
	m         media
	out       *eventWriter
	selection pipeline.Selection
	options   *metav1.ListOptions
	changes   *store.Watch
	ride      ride
	// sent is the revision of the last bookmark or event.
	sent int64
}

// watch streams changes until the client leaves, the time is up or the server stops.
func (q *request) watch() {
	m, ok := q.media()
	if !ok {
		return
	}
	o, err := q.listOptions()
	if err != nil {
		q.fail(err)
		return
	}
	o.Watch = true
	if m.target.kind == "Table" {
		if _, err := q.include(); err != nil {
			q.fail(err)
			return
		}
	}
	req := q.pipelineRequest()
	sel, err := pipeline.ParseSelection(req, o)
	if err != nil {
		q.fail(err)
		return
	}
	if err := q.watchFrom(o); err != nil {
		q.fail(err)
		return
	}
	if m.format == formatYAML { // upstream only sees now that there is no stream of it
		q.fail(notAcceptable(q.mediaTypes().streams...))
		return
	}
	if wantsInitial(o) {
		if err := q.s.pipeline.Complete(req); err != nil {
			q.fail(err)
			return
		}
	}
	ctx, cancel := q.longRunning(q.s.limits.watchTimeout(o))
	defer cancel()
	if c := q.kind.Custom; c != nil {
		defer context.AfterFunc(c.Replaced, cancel)()
	}
	defer q.watching()()
	w := &watcher{q: q, m: m, selection: sel, options: o, out: newEventWriter(q, m)}
	if wsstream.IsWebSocketRequest(q.r) {
		w.overSocket(ctx, req)
		return
	}
	w.run(ctx, req)
}

// watchFrom checks the revision that a watch starts from. Only initial events wait for it.
func (q *request) watchFrom(o *metav1.ListOptions) error {
	if o.ResourceVersion == "" {
		return nil
	}
	if err := checkRevision(o.ResourceVersion); err != nil {
		return err
	}
	if o.SendInitialEvents == nil || !*o.SendInitialEvents {
		return nil
	}
	return q.s.pipeline.WaitFor(q.r.Context(), q.pipelineRequest(), o.ResourceVersion)
}

// wantsInitial says whether a watch begins with the objects that there are: if it is told so, or if it names no revision
// to begin behind.
func wantsInitial(o *metav1.ListOptions) bool {
	if o.SendInitialEvents != nil {
		return *o.SendInitialEvents
	}
	revision, err := strconv.ParseInt(o.ResourceVersion, 10, 64)
	return err != nil || revision == 0
}

// watchTimeout is what the client asks for. Without that, watches end at different times, so that clients
// spread over servers.
func (l *Limits) watchTimeout(o *metav1.ListOptions) time.Duration {
	if o.TimeoutSeconds != nil && *o.TimeoutSeconds > 0 {
		return time.Duration(*o.TimeoutSeconds) * time.Second
	}
	return l.MinWatch + rand.N(l.MinWatch)
}

// longRunning returns a context that ends with the client, the timeout (0: none) and the server.
func (q *request) longRunning(timeout time.Duration) (context.Context, context.CancelFunc) {
	running := q.s.metrics.longRunning.WithLabelValues(q.seriesKey().target()...)
	running.Inc()
	q.s.inflight.prolong(q)
	ctx, cancel := context.WithCancel(q.r.Context())
	if timeout > 0 {
		ctx, cancel = context.WithTimeout(q.r.Context(), timeout)
	}
	stop := context.AfterFunc(q.s.closing, cancel)
	if q.s.limits.WatchGrace > 0 {
		q.s.inflight.endsBy(q, cancel)
	}
	return ctx, func() {
		stop()
		cancel()
		running.Dec()
	}
}

// run sends the initial state if it was asked for, then the changes.
func (w *watcher) run(ctx context.Context, req *pipeline.Request) {
	w.out.open()
	revision, err := strconv.ParseInt(w.options.ResourceVersion, 10, 64)
	legacy := err != nil || revision == 0
	if wantsInitial(w.options) {
		revision, err = w.initial(req)
		if err != nil {
			return
		}
	} else if legacy {
		revision = w.q.s.pipeline.Revision(req)
	}
	w.q.release() // from here on the watch costs next to nothing
	w.sent = revision
	if w.q.s.pipeline.Reach(ctx, req, revision) != nil {
		return // the time is up, or the client has left
	}
	if w.changes, err = w.q.s.pipeline.Watch(req, revision); err != nil {
		w.fail(revision, err)
		return
	}
	defer w.changes.Close()
	defer w.board()()
	w.follow(ctx)
}

// initial sends every selected object as ADDED and returns the revision that they show.
func (w *watcher) initial(req *pipeline.Request) (int64, error) {
	snap := w.q.s.pipeline.Snapshot(req)
	var err error
	sent := 0
	snap.Ascend(req.Namespace, store.Key{}, func(item *store.Item) bool {
		if w.selection.Matches(item.Object) {
			err = w.out.item("ADDED", item)
			sent++
		}
		return err == nil
	})
	w.q.s.metrics.traffic.began(w.q, sent)
	if err != nil {
		return 0, err
	}
	if w.options.AllowWatchBookmarks && w.q.query().Get("sendInitialEvents") != "" {
		err = w.bookmark(snap.Revision(), map[string]string{initialEnd: "true"})
		w.q.s.metrics.listed(w.q, time.Now())
	}
	w.out.flush()
	return snap.Revision(), err
}

// follow sends changes as they come, and a bookmark from time to time.
func (w *watcher) follow(ctx context.Context) {
	for ctx.Err() == nil {
		period, cancel := context.WithTimeout(ctx, bookmarkEvery)
		err := w.until(period)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, context.DeadlineExceeded):
			if w.options.AllowWatchBookmarks && w.changes.Revision() > w.sent {
				if w.bookmark(w.changes.Revision(), nil) != nil {
					return
				}
				w.out.flush()
			}
		default:
			if errors.Is(err, store.ErrCompacted) {
				w.q.s.metrics.traffic.overtook(w.q)
			}
			w.fail(w.changes.Revision(), err)
			return
		}
	}
}

// until sends changes until ctx or the watch ends; it returns why.
func (w *watcher) until(ctx context.Context) error {
	for {
		events, err := w.next(ctx)
		if err != nil {
			return err
		}
		for _, e := range events {
			if err := w.event(e); err != nil {
				return err
			}
		}
		w.sent = w.changes.Revision()
		w.out.flush()
	}
}

// event sends one change as this client's selection sees it: an object that comes to match is ADDED, one
// that no longer does is DELETED.
func (w *watcher) event(e *store.Event) error {
	was := e.Old != nil && w.selection.Matches(e.Old.Object)
	is := e.New != nil && w.selection.Matches(e.New.Object)
	switch {
	case is && was:
		return w.out.item("MODIFIED", e.New)
	case is:
		return w.out.item("ADDED", e.New)
	case was && e.New == nil:
		return w.out.item("DELETED", e.Last)
	case was:
		return w.out.left(e)
	}
	return nil
}

// bookmark tells the client how far it has come.
func (w *watcher) bookmark(revision int64, annotations map[string]string) error {
	obj := w.q.kind.New()
	obj.SetResourceVersion(strconv.FormatInt(revision, 10))
	obj.SetAnnotations(annotations)
	w.sent = revision
	return w.out.object("BOOKMARK", obj)
}

// fail ends the stream with an ERROR event, unless the client or the server is going away.
func (w *watcher) fail(revision int64, err error) {
	switch {
	case errors.Is(err, store.ErrCompacted):
		err = apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", revision, w.q.s.pipeline.Revision(w.q.pipelineRequest())))
	case errors.Is(err, store.ErrClosed), errors.Is(err, context.Canceled), errors.Is(err, errClientGone):
		return
	default:
		err = apierrors.NewInternalError(err)
	}
	if w.out.status(statusOf(err)) == nil {
		w.out.flush()
	}
}
