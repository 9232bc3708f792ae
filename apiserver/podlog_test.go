package apiserver

import (
	"bufio"
	"strings"
	"testing"
	"testing/iotest"
)

// TestEndOfLog: the last bytes of a log come without its end, whatever the connection to the node does.
func TestEndOfLog(t *testing.T) {
	const text = "container is alive\n"
	r := endLast{bufio.NewReader(iotest.DataErrReader(strings.NewReader(text)))}
	var got strings.Builder
	for buf := make([]byte, 4); ; {
		n, err := r.Read(buf)
		if n > 0 && err != nil {
			t.Fatalf("%d bytes and %v", n, err)
		}
		got.Write(buf[:n])
		if err != nil {
			break
		}
	}
	if got.String() != text {
		t.Errorf("got %q", got.String())
	}
}
