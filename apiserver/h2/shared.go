package h2

import (
	"net/http"

	"golang.org/x/net/http2"
)

// offersLimit is how much Offer gathers before it is written. Of much more, the processor's cache would hold the beginning no
// longer when it is encrypted.
const offersLimit = 64 << 10

// Shared is an http.ResponseWriter of a connection that carries many.
type Shared interface {
	http.ResponseWriter
	// Connection is equal for those of one connection.
	Connection() Connection
	// Offer queues p to be sent. It does not if that would have to wait for this response's client to take more of it, or
	// if there is something that has not been flushed; it does wait if nothing can be sent on the connection.
	Offer(p []byte) (bool, error)
}

// A Connection is what the responses to one client share.
type Connection interface {
	// Push writes what Offer has queued and not written already, as far as the client takes it; what it does not is written
	// when it does.
	Push()
	// Trust lets the client, who is known now, have as many streams as Options say for that.
	Trust()
}

// Connection implements Shared.
func (r *response) Connection() Connection { return r.st.c }

// Offer implements Shared.
func (r *response) Offer(p []byte) (bool, error) {
	st, c := r.st, r.st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case st.closed:
		return false, st.err
	case !r.sent || len(r.parts.piece) > 0 || int64(len(p)) > st.window:
		return false, nil
	}
	c.wire.offered.Add(int64(len(p)))
	err := st.sendLocked(false, p)
	if c.queue.len() >= offersLimit {
		c.flushLocked()
	}
	return true, err
}

// Trust implements Connection. What it tells the client goes along with the next answer.
func (c *conn) Trust() {
	if c.trusted.Swap(true) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if more := c.s.options.TrustedStreams; more > c.load.mostStreams && c.err == nil {
		c.load.mostStreams = more
		_ = c.framer.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: more})
		c.unacked++
	}
}

// Push implements Connection.
func (c *conn) Push() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushLocked()
}
