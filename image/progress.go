package image

import (
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// reportEvery is how often a pull that takes long is reported.
const reportEvery = 10 * time.Second

// progress is how much of an image has come.
type progress struct {
	done  atomic.Int64
	total int64
}

// count counts what is read from r.
func (p *progress) count(r io.Reader) io.Reader { return &countingReader{r: r, n: &p.done} }

type countingReader struct {
	r io.Reader
	n *atomic.Int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// report logs the progress now and then until stop is called.
func (p *progress) report(log *slog.Logger, image string) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(reportEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				log.Info("Still fetching an image", "image", image, "bytes", p.done.Load(), "of", p.total)
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}
