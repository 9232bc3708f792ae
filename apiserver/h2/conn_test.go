package h2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

func frame(kind, flags byte, stream uint32, payload ...byte) []byte {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return append(binary.BigEndian.AppendUint32(b, stream), payload...)
}

func windowUpdate(stream, increment uint32) []byte { return update{stream, increment}.appendTo(nil) }

func initialWindowSize(n uint32) []byte {
	return frame(typeSettings, 0, 0, binary.BigEndian.AppendUint32([]byte{0, settingInitialWindowSize}, n)...)
}

var preface = []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

func joined(parts ...[]byte) []byte { return slices.Concat(parts...) }

// script is a connection on which the client says something and nobody listens.
type script struct {
	net.Conn
	in io.Reader
}

func (s script) Read(p []byte) (int, error)      { return s.in.Read(p) }
func (s script) Write(p []byte) (int, error)     { return len(p), nil }
func (s script) SetReadDeadline(time.Time) error { return nil }

// chunks is a reader that returns a few bytes at a time.
type chunks struct {
	data []byte
	size int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.size)], c.data)
	c.data = c.data[n:]
	return n, nil
}

func TestWhatTheServerSees(t *testing.T) {
	const block = typeHeaders
	request := frame(block, flagEndHeaders|flagEndStream, 1, 1, 2, 3)
	long := frame(typeData, 0, 1, bytes.Repeat([]byte("x"), 3000)...)
	for name, c := range map[string]struct {
		client, server []byte // what the client sends; what the server has sent before
		sees           []byte
	}{
		"updates wait": {
			joined(preface, request, windowUpdate(0, 10), windowUpdate(1, 10), frame(6, 0, 0, make([]byte, 8)...)),
			frame(typeData, 0, 1, make([]byte, 100)...),
			joined(preface, request, frame(6, 0, 0, make([]byte, 8)...)),
		},
		"until half of the window is gone": {
			joined(preface, request, windowUpdate(1, 10), windowUpdate(0, 20)),
			frame(typeData, 0, 1, make([]byte, 40000)...),
			joined(preface, request, windowUpdate(1, 10), windowUpdate(0, 20)),
		},
		"a window that grows": {
			joined(preface, windowUpdate(0, 1<<30), request),
			nil,
			joined(preface, windowUpdate(0, 1<<30), request),
		},
		"of a stream that nobody has written to": {
			joined(preface, request, windowUpdate(1, 10), windowUpdate(3, 10)),
			nil,
			joined(preface, request, windowUpdate(1, 10), windowUpdate(3, 10)),
		},
		"settings tell what was held": {
			joined(preface, request, windowUpdate(1, 10), initialWindowSize(100)),
			frame(typeData, 0, 1, 1),
			joined(preface, request, initialWindowSize(100), windowUpdate(1, 10)),
		},
		"settings too long to be read": {
			joined(preface, request, windowUpdate(0, 7), frame(typeSettings, 0, 0, make([]byte, 600)...), windowUpdate(0, 8)),
			nil,
			joined(preface, request, frame(typeSettings, 0, 0, make([]byte, 600)...), windowUpdate(0, 7), windowUpdate(0, 8)),
		},
		"an update amid header fields is a fault": {
			joined(preface, frame(block, 0, 1, 1), windowUpdate(0, 5)),
			nil,
			joined(preface, frame(block, 0, 1, 1), windowUpdate(0, 5)),
		},
		"of no size, and of a wrong one": {
			joined(preface, windowUpdate(0, 0), frame(typeWindowUpdate, 0, 0, 1, 2, 3), frame(typeWindowUpdate, 0, 0, 1, 2, 3, 4, 5)),
			nil,
			joined(preface, windowUpdate(0, 0), frame(typeWindowUpdate, 0, 0, 1, 2, 3), frame(typeWindowUpdate, 0, 0, 1, 2, 3, 4, 5)),
		},
		"a stream that was reset": {
			joined(preface, request, frame(typeReset, 0, 1, 0, 0, 0, 8), windowUpdate(1, 10)),
			frame(typeData, 0, 1, 1),
			joined(preface, request, frame(typeReset, 0, 1, 0, 0, 0, 8), windowUpdate(1, 10)),
		},
		"a stream that has been answered": {
			joined(preface, request, windowUpdate(1, 10)),
			joined(frame(typeData, 0, 1, 1), frame(typeHeaders, flagEndHeaders|flagEndStream, 1, 9)),
			joined(preface, request, windowUpdate(1, 10)),
		},
		"long frames":  {joined(preface, long, windowUpdate(0, 1), long), nil, joined(preface, long, long)},
		"cut off":      {joined(preface, request, windowUpdate(0, 1)[:11]), nil, joined(preface, request, windowUpdate(0, 1)[:11])},
		"not HTTP/2":   {[]byte("GET / HTTP/1.1\r\n\r\n"), nil, []byte("GET / HTTP/1.1\r\n\r\n")},
		"nothing left": {nil, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{1, 5, 13, 1 << 20} {
				sc := newConn(script{in: &chunks{c.client, size}})
				for rest := c.server; len(rest) > 0; {
					n, _ := sc.Write(rest[:min(size, len(rest))])
					rest = rest[n:]
				}
				sees, err := io.ReadAll(&chunksOf{sc, size})
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(sees, c.sees) {
					t.Errorf("by %d bytes the server sees\n%x, not\n%x", size, sees, c.sees)
				}
			}
		})
	}
}

// chunksOf reads a few bytes at a time, as the server reads headers.
type chunksOf struct {
	io.Reader
	size int
}

func (c *chunksOf) Read(p []byte) (int, error) { return c.Reader.Read(p[:min(len(p), c.size)]) }

// TestServerIsToldWhatItNeeds: the server is waiting for the client when it comes to need what is held.
func TestServerIsToldWhatItNeeds(t *testing.T) {
	ours, client := net.Pipe()
	defer client.Close()
	go io.Copy(io.Discard, client)
	c := newConn(ours)
	defer c.Close()
	write := func(n int) {
		if _, err := c.Write(frame(typeData, 0, 1, make([]byte, n)...)); err != nil {
			t.Error(err)
		}
	}
	write(100)
	go client.Write(joined(preface, windowUpdate(1, 90), windowUpdate(0, 80), frame(6, 0, 0, make([]byte, 8)...)))
	sees := make([]byte, prefaceSize+headerSize+8)
	if _, err := io.ReadFull(c, sees); err != nil {
		t.Fatal(err)
	}
	var writing sync.WaitGroup
	defer writing.Wait()
	writing.Go(func() {
		for range 4 {
			write(15000)
		}
	})
	sees = sees[:2*updateSize]
	if _, err := io.ReadFull(c, sees); err != nil {
		t.Fatal(err)
	}
	if want := joined(windowUpdate(0, 80), windowUpdate(1, 90)); !bytes.Equal(sees, want) {
		t.Errorf("the server is told %x, not %x", sees, want)
	}
	go client.Write(frame(6, 0, 0, make([]byte, 8)...)) // and goes on
	if _, err := io.ReadFull(c, sees[:headerSize+8]); err != nil {
		t.Fatal(err)
	}
	_ = c.Conn.SetReadDeadline(time.Unix(1, 0)) // somebody else's
	if _, err := c.Read(sees); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a deadline that is none of ours passes as", err)
	}
}

// FuzzRead: whatever clients send and in whatever pieces it comes, all passes but updates, and of those the
// server is told no more than there was.
func FuzzRead(f *testing.F) {
	f.Add(joined(preface, frame(typeHeaders, flagEndHeaders, 1, 1), windowUpdate(0, 5), windowUpdate(1, 6), initialWindowSize(7)), uint16(3))
	f.Add(joined(preface, initialWindowSize(maxWindow), windowUpdate(1, maxWindow), windowUpdate(1, maxWindow)), uint16(1))
	f.Add([]byte("GET / HTTP/1.1\r\n"), uint16(9))
	f.Fuzz(func(t *testing.T, client []byte, size uint16) {
		c := newConn(script{in: &chunks{client, int(size) + 1}})
		c.note(frame(typeData, 0, 1, make([]byte, 1000)...))
		sees, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		others, granted := split(client)
		seen, told := split(sees)
		if !bytes.Equal(others, seen) {
			t.Errorf("the server sees %x of %x", seen, others)
		}
		for stream, n := range told {
			if n > granted[stream] {
				t.Errorf("the server is told of %d on %d, %d were granted", n, stream, granted[stream])
			}
		}
	})
}

// split tells the updates of what a client sends from all else.
func split(sent []byte) (others []byte, increments map[uint32]int64) {
	increments = map[uint32]int64{}
	n := min(len(sent), prefaceSize)
	others, sent = append(others, sent[:n]...), sent[n:]
	for len(sent) >= headerSize {
		h := parseHeader(sent)
		n := min(headerSize+h.length, len(sent))
		if h.kind == typeWindowUpdate && h.length == 4 && n == updateSize {
			u := parseUpdate(h, sent[headerSize:])
			increments[u.stream] += int64(u.increment)
		} else {
			others = append(others, sent[:n]...)
		}
		sent = sent[n:]
	}
	return append(others, sent...), increments
}
