package h2

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestGrant(t *testing.T) {
	for name, c := range map[string]struct {
		book      book
		increment int64
		told      int64
		after     book
	}{
		"half is left":        {book{size: 1000, known: 500}, 100, 0, book{size: 1000, known: 500, held: 100}},
		"less than half":      {book{size: 1000, known: 499}, 100, 100, book{size: 1000, known: 599}},
		"what was held, too":  {book{size: 1000, known: 499, held: 200}, 100, 300, book{size: 1000, known: 799}},
		"another half":        {book{size: 1000, known: 600, held: 400}, 100, 500, book{size: 1100, known: 1100}},
		"larger than it was":  {book{size: 1000, known: 1000}, 5000, 5000, book{size: 6000, known: 6000}},
		"of nothing":          {book{}, 1, 1, book{size: 1, known: 1}},
		"the server overdrew": {book{size: 1000, known: -500}, 100, 100, book{size: 1000, known: -400}},
	} {
		t.Run(name, func(t *testing.T) {
			if told := c.book.grant(c.increment); told != c.told || c.book != c.after {
				t.Errorf("told %d, %+v; want %d, %+v", told, c.book, c.told, c.after)
			}
		})
	}
}

func TestFaultsPass(t *testing.T) {
	l := newLedger()
	l.sent(1, 10)
	for name, u := range map[string]update{
		"nothing":                        {1, 0},
		"nothing, for the connection":    {0, 0},
		"too much":                       {1, maxWindow},
		"too much, for the connection":   {0, maxWindow},
		"a stream that has sent nothing": {3, 10},
	} {
		if n, ok := l.granted(u); n != 0 || ok {
			t.Errorf("%s: told %d, kept %t", name, n, ok)
		}
	}
}

// TestOverflowWithHeld: what is held goes to the server before the update that makes it too much, so that the
// server sees that.
func TestOverflowWithHeld(t *testing.T) {
	l := newLedger()
	l.sent(1, 10)
	if n, ok := l.granted(update{1, 10}); n != 0 || !ok {
		t.Fatalf("told %d, kept %t", n, ok)
	}
	if n, ok := l.granted(update{1, maxWindow - initialSize + 1}); n != 10 || ok {
		t.Errorf("told %d, kept %t; want 10 and the frame itself", n, ok)
	}
}

func TestEndedStreamsHaveNoBook(t *testing.T) {
	l := newLedger()
	l.sent(1, 10)
	l.sent(3, 10)
	l.last(1, 10)
	l.ended(3)
	l.last(5, 10)
	if len(l.streams) != 0 {
		t.Errorf("%d books are left", len(l.streams))
	}
	if l.conn.known != initialSize-40 {
		t.Errorf("the connection's window is %d", l.conn.known)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	l := newLedger()
	for id := uint32(1); len(l.streams) < maxStreams; id += 2 {
		l.sent(id, 1)
	}
	l.granted(update{1, 1})
	if !l.sent(maxStreams*2+1, 1) {
		t.Fatal("nobody is told to forget streams")
	}
	told := l.release(nil)
	if !slices.Equal(told, []update{{1, 1}}) || len(l.streams) != 0 {
		t.Errorf("told %v, %d books are left", told, len(l.streams))
	}
}

// TestLedgerAgainstTwin has a server send as much as it knows that it may, and a client grant what it has
// read, in random steps. The server never knows of more than there is, nor is it ever held up by what is held.
func TestLedgerAgainstTwin(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		initial := int64(r.IntN(200_000))
		l := newLedger()
		l.resized(initial)
		known, client := newTwin(initial), newTwin(initial)
		tell := func(told ...update) {
			for _, u := range told {
				known.add(u.stream, int64(u.increment))
			}
		}
		for range 2000 {
			id := uint32(1 + 2*r.IntN(4))
			switch r.IntN(3) {
			case 0:
				n := min(int64(r.IntN(20_000)), known.may(id))
				if n <= 0 {
					break
				}
				known.add(id, -n)
				known.add(0, -n)
				client.add(id, -n)
				client.add(0, -n)
				if l.sent(id, n) {
					tell(l.release(nil)...)
				}
			default:
				u := update{stream: id * uint32(r.IntN(2)), increment: uint32(1 + r.IntN(10_000))}
				client.add(u.stream, int64(u.increment))
				n, ok := l.granted(u)
				if n > 0 {
					tell(update{u.stream, n})
				}
				if !ok {
					tell(u)
				}
			}
			for _, id := range []uint32{0, 1, 3, 5, 7} {
				if known.of(id) > client.of(id) {
					t.Fatalf("seed %d: the server thinks that it may send %d on %d, the client takes %d", seed, known.of(id), id, client.of(id))
				}
				if known.of(id) <= 0 && client.of(id) > 0 {
					t.Fatalf("seed %d: the server waits on %d for %d that is held", seed, id, client.of(id))
				}
			}
		}
	}
}

// A twin is one side's windows.
type twin struct {
	initial int64
	windows map[uint32]int64
}

func newTwin(initial int64) twin {
	return twin{initial: initial, windows: map[uint32]int64{0: initialSize}}
}

func (w twin) of(id uint32) int64 {
	if n, ok := w.windows[id]; ok {
		return n
	}
	return w.initial
}

func (w twin) add(id uint32, n int64) { w.windows[id] = w.of(id) + n }
func (w twin) may(id uint32) int64    { return min(w.of(id), w.of(0)) }
