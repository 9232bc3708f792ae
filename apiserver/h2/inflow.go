package h2

// An inflow is what a client may still send, of one stream or of all (section 5.2).
type inflow struct {
	avail int32 // the client knows of
	read  int32 // since it was told
	size  int32
}

func newInflow(size int32) inflow { return inflow{avail: size, size: size} }

func (f *inflow) grow(n int32) { f.avail, f.size = f.avail+n, f.size+n }

// take notes that n bytes have come. They must not be more than was allowed.
func (f *inflow) take(n uint32) bool {
	if int64(n) > int64(f.avail) {
		return false
	}
	f.avail -= int32(n) // #nosec G115 -- not more than avail
	return true
}

// give notes that n bytes are no longer held, and returns what to tell the client: nothing as long as it has half of
// its window.
func (f *inflow) give(n int) uint32 {
	f.read += int32(n) // #nosec G115 -- not more than has been taken
	if f.read < f.size/2 {
		return 0
	}
	more := f.read
	f.avail, f.read = f.avail+more, 0
	return uint32(more) // #nosec G115 -- positive
}

// giveBackLocked lets the client send n bytes more: of all streams, and of st if it still is to send.
func (c *conn) giveBackLocked(st *stream, n int) {
	if n == 0 || c.err != nil {
		return
	}
	if more := c.in.give(n); more > 0 {
		_ = c.framer.WriteWindowUpdate(0, more)
	}
	if st == nil || st.ended || st.closed {
		return
	}
	if more := st.in.give(n); more > 0 {
		_ = c.framer.WriteWindowUpdate(st.id, more)
	}
}
