package h2

import (
	"errors"
	"net"
	"testing"
)

// TestUnread: whoever has TLS answer for ever what nobody pushes is not listened to for ever.
func TestUnread(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	w := newWire(here)
	w.hold(true)
	listen := func() error {
		go func() { _, _ = there.Write([]byte("x")) }()
		_, err := w.Read(make([]byte, 1))
		return err
	}
	const answer = 1000
	for held := 0; held <= heldLimit; held += answer {
		if held%(100*answer) == 0 {
			if err := listen(); err != nil {
				t.Fatalf("with %d bytes: %v", held, err)
			}
		}
		if _, err := w.Write(make([]byte, answer)); err != nil {
			t.Fatal(err)
		}
	}
	if err := listen(); !errors.Is(err, errUnread) {
		t.Error(err)
	}
}
