// Package h2 fits the HTTP/2 server of golang.org/x/net to connections with many streams that last: watches.
//
// A conn stands between the server and its TLS connection and spares it most WINDOW_UPDATE frames. Go's clients
// send two for every 4 KB that they have read, of windows that are a thousand times as large; for a server that
// sends a few events at a time to each of many watchers they are several for each write, every one with its
// way through three goroutines, and so cost more than the events. The conn keeps the books of all windows: while
// the server has half of one to send in, it holds back what the client adds to it, and tells the sum later.
// The server never waits for what is held: when a quarter is left, it is told all at once. Everything else
// passes as it is, faults too.
//
// And of the orders that the server can write in, Configure takes the one that does not look at every open stream
// for each frame.
package h2

import (
	"context"
	"crypto/tls"
	"net/http"

	"golang.org/x/net/http2"
)

// Configure has hs serve HTTP/2 as conf says, over connections of this package.
func Configure(hs *http.Server, conf *http2.Server) error {
	conf.NewWriteScheduler = http2.NewRandomWriteScheduler //nolint:staticcheck // a server that takes none has its own
	if err := http2.ConfigureServer(hs, conf); err != nil {
		return err
	}
	hs.TLSNextProto[http2.NextProtoTLS] = func(hs *http.Server, c *tls.Conn, h http.Handler) {
		opts := &http2.ServeConnOpts{Handler: h, BaseConfig: hs}
		if based, ok := h.(interface{ BaseContext() context.Context }); ok { // so net/http hands it down
			opts.Context = based.BaseContext()
		}
		conf.ServeConn(secure{newConn(c), c}, opts)
	}
	return nil
}

// A secure conn tells the server of its TLS state.
type secure struct {
	*conn
	tls *tls.Conn
}

func (s secure) ConnectionState() tls.ConnectionState { return s.tls.ConnectionState() }
