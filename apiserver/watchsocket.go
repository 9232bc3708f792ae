package apiserver

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"golang.org/x/net/websocket"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"clipper/apiserver/pipeline"
)

// overSocket streams the watch to a client that came for a WebSocket, as browsers do: a message for each
// event. What the client sends is ignored; when it closes, the watch is over.
func (w *watcher) overSocket(ctx context.Context, req *pipeline.Request) {
	q := w.q
	q.code, q.wrote = http.StatusSwitchingProtocols, true
	websocket.Handler(func(socket *websocket.Conn) {
		ctx, cancel := context.WithCancel(ctx)
		var reading sync.WaitGroup
		reading.Go(func() {
			defer cancel()
			wsstream.IgnoreReceives(socket, 0)
		})
		w.out.socket = socket
		w.run(ctx, req)
		cancel()
		_ = socket.Close() // the reader ends
		reading.Wait()
	}).ServeHTTP(q.w, q.r)
}

// message sends one event over a WebSocket: text is sent as text, and nothing else frames it.
func (o *eventWriter) message(frame []byte) error {
	var err error
	switch o.m.format {
	case formatProtobuf:
		const length = 4
		err = websocket.Message.Send(o.socket, frame[length:])
	case formatCBOR:
		err = websocket.Message.Send(o.socket, frame)
	default:
		err = websocket.Message.Send(o.socket, string(frame))
	}
	if err != nil {
		return errors.Join(errClientGone, err)
	}
	return nil
}
