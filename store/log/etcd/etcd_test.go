package etcd

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clipper/store/log"
)

// TestRefusal: a member that wants a certificate, or does not understand us, is not just one that does not answer.
func TestRefusal(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(cert)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		ClientAuth:   tls.RequireAnyClientCert, NextProtos: []string{"h2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = conn.(*tls.Conn).Handshake() // refuses whoever has no certificate
			}()
		}
	}()
	for _, tt := range []struct {
		config *tls.Config
		want   string
	}{
		{&tls.Config{RootCAs: trusted}, "certificate required"},
		{&tls.Config{}, "unknown authority"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := Open(ctx, Config{Endpoints: []string{"https://" + l.Addr().String()}, TLS: tt.config})
		cancel()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want it to say %q", err, tt.want)
		}
	}
}

// TestTooLarge: what is refused for its size is told from other refusals.
func TestTooLarge(t *testing.T) {
	for err, want := range map[error]bool{
		rpctypes.ErrRequestTooLarge: true,
		status.Error(codes.ResourceExhausted, "grpc: trying to send message larger than max (3 vs. 2)"): true,
		rpctypes.ErrNoSpace: false,
		context.Canceled:    false,
	} {
		var f *log.FaultError
		if got := fault(t.Context(), err); !errors.As(got, &f) || f.TooLarge != want {
			t.Errorf("%v: %#v, want TooLarge %t", err, got, want)
		}
	}
}

// TestRoot: prefixes are as kube-apiserver takes them.
func TestRoot(t *testing.T) {
	for in, want := range map[string]string{"": "/registry/", "/registry": "/registry/", "registry": "/registry/", "/a/b/": "/a/b/", "/": "/"} {
		if got := Root(in); got != want {
			t.Errorf("Root(%q) is %q, want %q", in, got, want)
		}
	}
}

// TestLeasesAreShared: one lease serves keys that end at about the same time, and no key ends early.
func TestLeasesAreShared(t *testing.T) {
	now := time.Unix(1000, 0)
	l := &leases{now: func() time.Time { return now }, reuse: DefaultLeaseReuse, last: map[time.Duration]*lease{time.Hour: {id: 7, expire: now.Add(time.Hour + time.Minute), keys: 1}}}
	for range 10 {
		if id, err := l.take(t.Context(), time.Hour); err != nil || id != 7 {
			t.Fatalf("lease %d: %v", id, err)
		}
		now = now.Add(6 * time.Second)
	}
	have := l.last[time.Hour]
	if have.keys != 11 || have.expire.Before(now.Add(time.Hour)) {
		t.Errorf("%+v at %v", have, now)
	}
}
