package daemon

import (
	"crypto/tls"
	"testing"
	"testing/synctest"
	"time"
)

// TestServing: a certificate is looked for again when it is time, and nobody else waits for whoever does it.
func TestServing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issued, disk := byte(0), make(chan struct{}, 1)
		disk <- struct{}{}
		s, err := newServing(func() (tls.Certificate, error) {
			<-disk
			issued++
			return tls.Certificate{Certificate: [][]byte{{issued}}}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		shown := func() byte {
			cert, err := s.get(nil)
			if err != nil {
				t.Fatal(err)
			}
			return cert.Certificate[0][0]
		}
		if got := shown(); got != 1 {
			t.Errorf("shown %d at first", got)
		}
		time.Sleep(lookEvery)
		first := make(chan byte)
		go func() { first <- shown() }()
		synctest.Wait() // it waits for the disk
		if got := shown(); got != 1 {
			t.Errorf("shown %d meanwhile", got)
		}
		disk <- struct{}{}
		if got := <-first; got != 2 {
			t.Errorf("shown %d after an hour", got)
		}
		if got := shown(); got != 2 {
			t.Errorf("shown %d then", got)
		}
	})
}
