package daemon

import (
	"crypto/tls"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// The node in a server's process looks for a newer certificate once in a while, and goes on with the old one where
// there is none to be had. Nobody else waits for whoever does it.
func TestServingIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issued, disk := byte(0), make(chan struct{}, 1)
		var fault error
		disk <- struct{}{}
		s, err := newServing(func() (tls.Certificate, error) {
			<-disk
			issued++
			return tls.Certificate{Certificate: [][]byte{{issued}}}, fault
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
		time.Sleep(lookEvery)
		fault = errors.New("no authority")
		disk <- struct{}{}
		if got := shown(); got != 2 || issued != 3 {
			t.Errorf("without an authority it shows %d; asked %d times", got, issued)
		}
	})
}
