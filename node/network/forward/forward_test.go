package forward

import (
	"context"
	"io"
	"net"
	"testing"
)

func TestToReachesTheHostsPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		io.Copy(c, c)
		c.Close()
	}()
	near, far := net.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- To(context.Background(), "", int32(l.Addr().(*net.TCPAddr).Port), far)
	}()
	go near.Write([]byte("hello"))
	buf := make([]byte, 5)
	if _, err := io.ReadFull(near, buf); err != nil || string(buf) != "hello" {
		t.Fatalf("%q, %v", buf, err)
	}
	near.Close()
	<-done
}
