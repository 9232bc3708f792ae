package h2

import "golang.org/x/net/http2"

// unstartedFactor is how many requests may wait for a handler, as a multiple of the streams that may be open; and how many may
// have been closed meanwhile, as one of the handlers that may be deserted.
const unstartedFactor = 4

// A load is what the requests of one connection hold of the server. The connection's mu guards it.
type load struct {
	mostStreams  uint32 // that are open
	mostDeserted uint32 // handlers; no more for clients that are known
	mostHeads    int64  // bytes of requests' fields; a single request may have more

	running   uint32 // handlers
	deserted  uint32 // those of them whose streams have been closed
	heads     int64
	unstarted []*stream
	stillborn uint32 // those of them that have been closed
}

func newLoad(o *Options) load {
	return load{mostStreams: o.MaxStreams, mostDeserted: o.MaxStreams, mostHeads: int64(o.ConnWindow)}
}

// A phase is where the handler of a stream is.
type phase uint8

const (
	fresh phase = iota
	unstarted
	running
	answered // and about to return
	deserted // it runs, but the stream has been closed
)

// headSize is how large a request's fields are, as section 6.5.2 counts them: a few bytes may stand for many.
func headSize(f *http2.MetaHeadersFrame) (n int64) {
	for i := range f.Fields {
		n += int64(f.Fields[i].Size())
	}
	return n
}

// fits says whether there may be another request, beside so many open streams.
func (l *load) fits(open int, head int64) bool {
	return open < int(l.mostStreams) && (l.heads == 0 || l.heads+head <= l.mostHeads)
}

// free says whether another handler may start. A client that opens and resets streams does not have as many run in vain as
// one that is known may wait for.
func (l *load) free() bool { return l.running < l.mostStreams && l.deserted < l.mostDeserted }

// startLocked runs a stream's handler, or has it wait for another to end: the handlers of streams that a client has opened and
// reset are still running.
func (c *conn) startLocked(st *stream) error {
	switch l := &c.load; {
	case l.free():
		c.runLocked(st)
	case len(l.unstarted) > int(unstartedFactor*l.mostStreams), l.stillborn > unstartedFactor*l.mostDeserted:
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	default:
		st.phase = unstarted
		l.unstarted = append(l.unstarted, st)
	}
	return nil
}

func (c *conn) runLocked(st *stream) {
	st.phase = running
	c.load.running++
	c.s.workers.run(st)
}

// desert is when a stream is closed. What nobody will answer is not kept.
func (l *load) desert(st *stream) {
	switch st.phase {
	case fresh:
		l.heads -= st.head
	case unstarted:
		l.heads -= st.head
		l.stillborn++
		st.request, st.handler = nil, nil
	case running:
		st.phase = deserted
		l.deserted++
	}
}

// doneLocked is when a stream's handler has returned. It starts those that wait for that.
func (c *conn) doneLocked(st *stream) {
	l := &c.load
	l.running--
	l.heads -= st.head
	if st.phase == deserted {
		l.deserted--
	}
	for len(l.unstarted) > 0 && l.free() {
		next := l.unstarted[0]
		l.unstarted = l.unstarted[1:]
		if next.closed {
			l.stillborn--
		} else {
			c.runLocked(next)
		}
	}
}
