package apiserver

import (
	"errors"
	"net/http"
	"reflect"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/websocket"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"clipper/api"
	"clipper/apiserver/h2"
	"clipper/apiserver/wire"
	"clipper/store"
)

// errClientGone: what was written could not be sent.
var errClientGone = errors.New("client is gone")

// An eventWriter frames watch events for one client. The objects' encodings are shared by all watchers.
type eventWriter struct {
	q       *request
	m       media
	flusher http.Flusher
	buf     []byte // events that have not been handed to the connection; from a pool while there are any
	tally   eventTally
	headers bool            // a table's columns have been sent
	socket  *websocket.Conn // events go here if it is there
	shared  h2.Shared       // nil: the connection is this client's alone
	offers  bool            // shared is not to be waited for
}

// bufferEvents is how much is gathered before it goes to the connection: four of HTTP/2's usual frames, since
// each write costs as much as a few events.
const bufferEvents = 64 << 10

// eventBuffers are of those who write just now: a thousand watchers that wait need none.
var eventBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

func newEventWriter(q *request, m media) *eventWriter {
	flusher, _ := q.w.(http.Flusher)
	return &eventWriter{q: q, m: m, flusher: flusher}
}

// open starts the answer: the client learns at once that the watch stands.
func (o *eventWriter) open() {
	if o.socket != nil {
		return
	}
	contentType := o.m.format.String()
	if o.m.format != formatJSON {
		contentType = streamType(o.m.format)
	}
	o.q.w.Header().Set("Content-Type", contentType)
	o.q.writeHeader(http.StatusOK)
	o.flush()
}

// item sends an event about a stored object.
func (o *eventWriter) item(eventType string, item *store.Item) error {
	if o.m.target.kind != "" {
		return o.transformed(eventType, item.Object)
	}
	body, err := encoded(o.q.kind, item, o.m.format)
	if err != nil {
		return err
	}
	return o.frame(eventType, body)
}

// left sends DELETED for an object that exists but is no longer selected: its last selected state, at the
// revision that changed it.
func (o *eventWriter) left(e *store.Event) error {
	if o.m.target.kind != "" {
		return o.transformed("DELETED", leftState(e))
	}
	key := encodingKey(o.m.format, o.q.kind)
	key.Form = leftForms[o.m.format]
	body, err := e.New.Encoded(key, func() ([]byte, error) { return encodeAs(o.q.kind, leftState(e), o.m.format) })
	if err != nil {
		return err
	}
	return o.frame("DELETED", body)
}

// leftForms name the encodings of leftState.
var leftForms = [...]string{formatJSON: "left/" + typeJSON, formatYAML: "left/" + typeYAML, formatProtobuf: "left/" + typeProtobuf, formatCBOR: "left/" + typeCBOR}

func leftState(e *store.Event) api.Object {
	obj := shallow(e.Old.Object)
	obj.SetResourceVersion(strconv.FormatInt(e.Revision, 10))
	return obj
}

// object sends an event about an object that is not in the store.
func (o *eventWriter) object(eventType string, obj api.Object) error {
	if o.m.target.kind != "" {
		return o.transformed(eventType, obj)
	}
	body, err := encodeAs(o.q.kind, obj, o.m.format)
	if err != nil {
		return err
	}
	return o.frame(eventType, body)
}

func (o *eventWriter) transformed(eventType string, obj api.Object) error {
	meta := metav1.ListMeta{ResourceVersion: obj.GetResourceVersion()}
	out, err := o.q.transform(o.m, []api.Object{obj}, meta, false, !o.headers)
	if err != nil {
		return err
	}
	o.headers = true
	body, err := encodeAny(o.m.format, out)
	if err != nil {
		return err
	}
	return o.frame(eventType, body)
}

// status sends an ERROR event.
func (o *eventWriter) status(s *metav1.Status) error {
	body, err := encodeObject(wireKind(statusKind), s, o.m.format)
	if err != nil {
		return err
	}
	return o.frame("ERROR", body)
}

func (o *eventWriter) frame(eventType string, body []byte) error {
	o.tally.add(len(body))
	if o.buf == nil {
		o.buf = (*eventBuffers.Get().(*[]byte))[:0]
	}
	switch o.m.format {
	case formatProtobuf:
		o.buf = wire.ProtobufEvent(o.buf, eventType, body)
	case formatCBOR:
		o.buf = wire.CBOREvent(o.buf, eventType, body)
	default:
		o.buf = wire.JSONEvent(o.buf, eventType, body)
	}
	if o.socket != nil {
		err := o.message(o.buf)
		o.release(err)
		return err
	}
	if len(o.buf) >= bufferEvents {
		return o.send()
	}
	return nil
}

// send hands over what has been gathered. errMustWait: it could not, and it is still there.
func (o *eventWriter) send() error {
	if len(o.buf) == 0 {
		return nil
	}
	o.q.writing.Store(time.Now().UnixNano())
	err := o.write()
	o.q.writing.Store(0)
	if errors.Is(err, errMustWait) {
		return err
	}
	o.release(err)
	if err != nil {
		return errors.Join(errClientGone, err)
	}
	return nil
}

func (o *eventWriter) write() error {
	if !o.offers {
		_, err := o.q.w.Write(o.buf)
		return err
	}
	took, err := o.shared.Offer(o.buf)
	if err == nil && !took {
		return errMustWait
	}
	return err
}

// release counts what was sent and gives the buffer back, unless one large event has made it large. After an
// error the connection may still be reading it: it must not come to hold what another client asked for.
func (o *eventWriter) release(err error) {
	o.q.s.metrics.events.add(o.q.kind.GVR, &o.tally)
	if b := o.buf; err == nil && cap(b) <= 2*bufferEvents {
		eventBuffers.Put(&b)
	}
	o.buf = nil
}

// flush hands everything to the client. A client that is gone is noticed by the request's context.
func (o *eventWriter) flush() {
	if o.socket != nil {
		return
	}
	if o.send() == nil && o.flusher != nil {
		o.q.writing.Store(time.Now().UnixNano())
		o.flusher.Flush()
		o.q.writing.Store(0)
	}
}

// shallow copies an object so that its metadata can be changed; the rest is shared.
func shallow(obj api.Object) api.Object {
	if _, ok := obj.(runtime.Unstructured); ok {
		return obj.DeepCopyObject().(api.Object)
	}
	c := reflect.New(reflect.TypeOf(obj).Elem())
	c.Elem().Set(reflect.ValueOf(obj).Elem())
	return c.Interface().(api.Object)
}
