package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// How a broken download is taken up again: after pauses that grow, and as long as some of the attempts bring
// something. A connection over which nothing comes for stallTime is broken too. Together they allow some five
// minutes without progress, containerd's figure.
const (
	stallTime    = time.Minute
	resumeTries  = 5
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
)

var errStalled = errors.New("nothing came for a minute")

// resuming is a transport whose downloads survive broken connections: the rest of a body is asked for by range.
// What comes is verified by its digest, so it need not be checked that the content is still the same.
type resuming struct {
	next  http.RoundTripper
	stall time.Duration // stallTime but in tests
	pause time.Duration // firstPause but in tests
}

func (t *resuming) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet || r.Header.Get("Range") != "" {
		return t.next.RoundTrip(r)
	}
	b := &resumingBody{transport: t, request: r}
	resp, err := b.send(0)
	if err != nil {
		return resp, err
	}
	if resp.StatusCode != http.StatusOK || resp.ContentLength == 0 {
		return resp, nil // its context ends with the request's
	}
	b.body, b.size = resp.Body, resp.ContentLength
	resp.Body = b
	return resp, nil
}

// A resumingBody is the body of one download, over one connection after the other.
type resumingBody struct {
	transport *resuming
	request   *http.Request
	size      int64 // -1: unknown
	read      int64

	body   io.ReadCloser // of the present connection
	cancel context.CancelCauseFunc
	ctx    context.Context
	tries  int  // since something came
	whole  bool // ranges are not understood: everything is asked for again
}

// send asks for the content from an offset on.
func (b *resumingBody) send(from int64) (*http.Response, error) {
	b.ctx, b.cancel = context.WithCancelCause(b.request.Context())
	r := b.request.Clone(b.ctx)
	switch {
	case from == 0 || b.whole:
	case b.size > 0: // some want to know the end
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, b.size-1))
	default:
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	return b.transport.next.RoundTrip(r)
}

func (b *resumingBody) Read(p []byte) (int, error) {
	for {
		n, err := b.readOnce(p)
		b.read += int64(n)
		if n > 0 {
			b.tries = 0
		}
		switch {
		case err == nil, err == io.EOF && (b.size < 0 || b.read >= b.size):
			return n, err
		case n > 0:
			return n, nil // the fault will come again
		case b.request.Context().Err() != nil:
			return n, err
		}
		if err := b.resume(err); err != nil {
			return n, err
		}
	}
}

// readOnce reads from the present connection, but waits no longer than stall for it.
func (b *resumingBody) readOnce(p []byte) (int, error) {
	cancel := b.cancel
	alarm := time.AfterFunc(b.transport.stall, func() { cancel(errStalled) })
	defer alarm.Stop()
	n, err := b.body.Read(p)
	if err != nil && context.Cause(b.ctx) == errStalled {
		err = errStalled
	}
	return n, err
}

// resume takes the download up again. The error is the cause if that cannot be.
func (b *resumingBody) resume(cause error) error {
	if cause == io.EOF {
		cause = io.ErrUnexpectedEOF
	}
	b.body.Close()
	b.cancel(nil)
	for b.tries < resumeTries {
		pause := time.NewTimer(min(b.transport.pause<<(2*b.tries), longestPause))
		b.tries++
		select {
		case <-pause.C:
		case <-b.request.Context().Done():
			pause.Stop()
			return context.Cause(b.request.Context())
		}
		again, err := b.again()
		if err == nil && again {
			return nil
		}
		if err != nil {
			cause = err
		}
	}
	return fmt.Errorf("download broke off after %d bytes and could not be taken up again: %w", b.read, cause)
}

// again opens another connection at the place that was reached.
func (b *resumingBody) again() (bool, error) {
	resp, err := b.send(b.read)
	if err != nil {
		return false, err
	}
	b.body = resp.Body
	switch {
	case resp.StatusCode == http.StatusPartialContent && strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", b.read)):
		return true, nil
	case resp.StatusCode == http.StatusOK: // from the beginning: this one knows no ranges
		if _, err = io.CopyN(io.Discard, resp.Body, b.read); err == nil {
			return true, nil
		}
	default:
		b.whole = resp.StatusCode == http.StatusRequestedRangeNotSatisfiable
		err = fmt.Errorf("the registry answers %s to a request for the rest", resp.Status)
	}
	resp.Body.Close()
	b.cancel(nil)
	return false, err
}

func (b *resumingBody) Close() error {
	b.cancel(nil)
	return b.body.Close()
}
