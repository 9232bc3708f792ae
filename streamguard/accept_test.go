package streamguard

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/moby/spdystream/spdy"
)

// serve reads what comes through as the library does, answers the streams, and returns them.
func serve(t testing.TB, a *accepted) (opened []spdy.StreamId, err error) {
	framer, err := spdy.NewFramer(a, a)
	if err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return opened, err
		}
		switch f := frame.(type) {
		case *spdy.HeadersFrame:
			t.Fatal("headers came through")
		case *spdy.SynStreamFrame:
			opened = append(opened, f.StreamId)
			if err := framer.WriteFrame(&spdy.SynReplyFrame{StreamId: f.StreamId}); err != nil {
				t.Fatalf("the answer to stream %d: %v", f.StreamId, err)
			}
		}
	}
}

// accepting is a guarded connection over which said comes.
func accepting(t testing.TB, said []byte, piece, most int, now func() time.Time, broken bool) (*accepted, *wire) {
	w := &wire{in: &pieces{said, piece}, broken: broken}
	a, err := newAccepted(w, bufio.NewReader(w.in), most, now)
	if err != nil {
		t.Fatal(err)
	}
	return a, w
}

// said are frames of one client, whose headers are compressed together.
func said(t testing.TB, frames ...spdy.Frame) []byte {
	var b bytes.Buffer
	framer, err := spdy.NewFramer(&b, nil)
	for _, f := range frames {
		if err == nil {
			err = framer.WriteFrame(f)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestAccept: the library hears of streams that it takes, and of nothing that holds it up.
func TestAccept(t *testing.T) {
	open := func(id uint32) spdy.Frame {
		return &spdy.SynStreamFrame{StreamId: spdy.StreamId(id), Headers: http.Header{"Streamtype": {"error"}}}
	}
	data := &spdy.DataFrame{StreamId: 1, Data: bytes.Repeat([]byte("\x80\x03\x00\x01"), 9)}
	reset := &spdy.RstStreamFrame{StreamId: 1, Status: spdy.Cancel}
	long := said(t, reset) // says that it is longer than it is, to hide the stream after it
	binary.BigEndian.PutUint32(long[4:], uint32(8+len(said(t, open(3)))))
	for _, tt := range []struct {
		name    string
		said    []byte
		most    int
		after   time.Duration
		streams int
		refused bool
	}{
		{"as many as are taken", said(t, open(1), open(3), data, reset, &spdy.PingFrame{Id: 1}), 2, 0, 2, false},
		{"one more", said(t, open(1), open(3), data, open(5), open(7)), 2, 0, 2, true},
		{"as many as come", said(t, open(1), open(3), open(5), open(7), &spdy.GoAwayFrame{}), 0, time.Hour, 4, false},
		{"too late", said(t, open(1), open(3)), 2, patience + 1, 0, true},
		{"headers", said(t, open(1), &spdy.HeadersFrame{StreamId: 1, Headers: http.Header{"A": {"b"}}}), 1, 0, 1, true},
		{"no stream", said(t, open(1), &spdy.DataFrame{StreamId: 2})[:len(said(t, open(1)))+8], 1, 0, 1, false},
		{"data of stream 0", append(said(t, open(1)), 0, 0, 0, 0, 0, 0, 0, 0), 1, 0, 1, true},
		{"a stream hidden in a frame", append(append(said(t, open(1)), long...), said(t, open(3))...), 1, 0, 1, true},
		{"a huge control frame", append(said(t, open(1)), 0x80, 3, 0, 6, 0, 0xff, 0xff, 0xff), 1, 0, 1, true},
		{"no SPDY", []byte("\x80\x03\x00\x63\x00\x00\x00\x00"), 1, 0, 0, true},
	} {
		for _, piece := range []int{1, 7, 1 << 10} {
			for _, broken := range []bool{false, true} { // the client does not read
				now := time.Unix(0, 0)
				a, w := accepting(t, tt.said, piece, tt.most, func() time.Time { return now }, broken)
				now = now.Add(tt.after)
				opened, err := serve(t, a)
				if len(opened) != tt.streams || tt.refused == errors.Is(err, io.EOF) || tt.refused && !w.closed {
					t.Errorf("%s, by %d, broken %t: streams %v, then %v, closed %t", tt.name, piece, broken, opened, err, w.closed)
				}
				if len(opened) == 0 || !broken {
					continue
				}
				if _, err := a.Write([]byte("x")); err == nil {
					t.Errorf("%s: what is written after the end is taken", tt.name)
				}
			}
		}
	}
}

// FuzzAccept: whatever a client says, the library reads whole frames, and no more streams than it takes.
func FuzzAccept(f *testing.F) {
	f.Add(said(f, &spdy.SynStreamFrame{StreamId: 1, Headers: http.Header{"A": {"b"}}}, &spdy.DataFrame{StreamId: 1, Data: []byte("x")}), uint8(3))
	f.Add(said(f, &spdy.RstStreamFrame{StreamId: 5, Status: spdy.Cancel}, &spdy.GoAwayFrame{}), uint8(1))
	f.Fuzz(func(t *testing.T, said []byte, piece uint8) {
		a, _ := accepting(t, said, int(piece)+1, 2, time.Now, false)
		opened, err := serve(t, a)
		var wrong *spdy.Error
		if len(opened) > 2 || errors.As(err, &wrong) {
			t.Fatalf("streams %v, then %v", opened, err)
		}
	})
}

// TestLastAnswer: the answer for which the end was kept back is written, whoever learns of it first.
func TestLastAnswer(t *testing.T) {
	client := said(t, &spdy.SynStreamFrame{StreamId: 1, Headers: http.Header{"A": {"b"}}})
	for range 2000 {
		a, _ := accepting(t, client, len(client), 1, time.Now, true)
		framer, err := spdy.NewFramer(a, a)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := framer.ReadFrame(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error)
		go func() {
			_, err := a.Read(make([]byte, 1))
			ended <- err
		}()
		if err := framer.WriteFrame(&spdy.SynReplyFrame{StreamId: 1}); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
}
