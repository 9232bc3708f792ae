package main

import (
	"maps"
	"testing"
)

func TestSharesOf(t *testing.T) {
	const traces = `File: clipper
Type: cpu
Duration: 8s, Total samples = 80ms (1.00%)
-----------+-------------------------------------------------------
      20ms   internal/runtime/syscall/linux.Syscall6
             syscall.write
             crypto/tls.(*Conn).Write
-----------+-------------------------------------------------------
      10ms   runtime.memmove
             clipper/apiserver.(*eventWriter).frame
             golang.org/x/net/http2.(*serverConn).runHandler
-----------+-------------------------------------------------------
      40ms   runtime.memmove
             golang.org/x/net/http2.(*Framer).startWriteDataPadded
-----------+-------------------------------------------------------
                pebble:  wal-sync
      10ms   clipper/store.(*Store).publish (inline)
-----------+-------------------------------------------------------
`
	got, err := sharesOf(traces)
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]float64{"kernel": 25, "events": 12.5, "http2": 50, "rest": 12.5}; !maps.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
	for _, bad := range []string{"", "-----------+---\n  what   main.main\n"} {
		if _, err := sharesOf(bad); err == nil {
			t.Errorf("%q is a profile", bad)
		}
	}
}
