package h2

// initialSize is a window's size before anybody has said otherwise (RFC 9113, section 6.9.2).
const initialSize = 65535

// maxStreams bounds the streams that have books. Beyond it they all begin anew: a stream that has none gets
// its updates at once.
const maxStreams = 1000

// A book is that of one window: how much the server may send.
type book struct {
	size  int64 // the most that has been granted
	known int64 // what the server knows that it may send
	held  int64 // what the client has granted since, which the server has not been told
}

// grant takes an update in, and returns what the server has to be told now. Nothing as long as it has half of
// the window to send in, unless another half has come together.
func (b *book) grant(n int64) int64 {
	b.held += n
	if b.known >= b.size/2 && b.held < b.size/2 {
		return 0
	}
	return b.release()
}

// release returns all that is held, as the server is told it.
func (b *book) release() int64 {
	n := b.held
	b.held = 0
	b.known += n
	b.size = max(b.size, b.known)
	return n
}

// short says that the server could soon have to wait for what is held.
func (b *book) short() bool { return b.held > 0 && b.known < b.size/4 }

// A ledger has the books of a connection: its own window and those of its streams that have sent something
// and have not ended.
type ledger struct {
	conn    book
	initial int64 // size of a new stream's window
	streams map[uint32]*book
}

func newLedger() ledger {
	return ledger{conn: book{size: initialSize, known: initialSize}, initial: initialSize, streams: map[uint32]*book{}}
}

// sent notes data on its way to the client, and says whether what is held is needed now.
func (l *ledger) sent(stream uint32, size int64) (short bool) {
	l.conn.known -= size
	b := l.streams[stream]
	if b == nil {
		if len(l.streams) >= maxStreams {
			return true // release forgets them
		}
		b = &book{size: l.initial, known: l.initial}
		l.streams[stream] = b
	}
	b.known -= size
	return b.short() || l.conn.short()
}

// last notes the end of a stream, and its last data. Most answers are no more than that: they need no book.
func (l *ledger) last(stream uint32, size int64) (short bool) {
	l.conn.known -= size
	l.ended(stream)
	return l.conn.short()
}

// ended forgets a stream: nobody sends on it any more.
func (l *ledger) ended(stream uint32) { delete(l.streams, stream) }

// granted takes a client's update in and returns the increment that the server has to be told now. Not ok: it
// has to see the update itself, which is for a stream without books, or a fault.
func (l *ledger) granted(u update) (increment uint32, ok bool) {
	b := &l.conn
	if u.stream != 0 {
		b = l.streams[u.stream]
	}
	switch {
	case b == nil || u.increment == 0:
		return 0, false
	case b.known+b.held+int64(u.increment) > maxWindow:
		return uint32(b.release()), false // #nosec G115 -- what is held never comes to more than maxWindow
	}
	return uint32(b.grant(int64(u.increment))), true // #nosec G115 -- see above
}

// resized notes another size of streams' windows.
func (l *ledger) resized(size int64) {
	for _, b := range l.streams {
		b.known += size - l.initial
		b.size = max(size, b.known)
	}
	l.initial = size
}

// release appends to dst all that is held, for the server to be told, and forgets streams if there are too many.
func (l *ledger) release(dst []update) []update {
	if n := l.conn.release(); n > 0 {
		dst = append(dst, update{increment: uint32(n)}) // #nosec G115 -- see granted
	}
	for id, b := range l.streams {
		if n := b.release(); n > 0 {
			dst = append(dst, update{stream: id, increment: uint32(n)}) // #nosec G115 -- see granted
		}
	}
	if len(l.streams) >= maxStreams {
		clear(l.streams)
	}
	return dst
}
