package manifests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// fetchTime limits one request for static pods.
const fetchTime = 10 * time.Second

// loudFailures is how many failures in a row are told of: the server may be gone for days.
const loudFailures = 4

// A URL is a place on the network that says which pods a node runs.
type URL struct {
	Address string
	Header  map[string][]string
	Node    string
	Period  time.Duration // between two looks

	last   []byte
	failed int
}

// Read returns the pods by UID. fresh is false if nothing has changed since the last time.
func (u *URL) Read(ctx context.Context) (pods map[types.UID]*corev1.Pod, fresh bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.Address, nil)
	if err != nil {
		return nil, false, err
	}
	for name, values := range u.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, false, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxFile+1))
	switch {
	case err != nil:
		return nil, false, err
	case resp.StatusCode != http.StatusOK:
		return nil, false, fmt.Errorf("%v: %v", u.Address, resp.Status)
	case len(data) > maxFile:
		return nil, false, fmt.Errorf("%v: more than %d bytes are too many for a manifest", u.Address, maxFile)
	case len(data) == 0:
		return nil, true, errors.New("zero-length data received from " + u.Address)
	case bytes.Equal(data, u.last):
		return nil, false, nil
	}
	pods, err = ParseAll(data, "url:"+u.Address, URLSource, u.Node)
	if err != nil {
		return nil, false, fmt.Errorf("%v: %w", u.Address, err)
	}
	u.last = data
	return pods, true, nil
}

// Watch looks again and again until ctx ends and calls changed with what has changed.
func (u *URL) Watch(ctx context.Context, changed func(map[types.UID]*corev1.Pod)) error {
	tick := time.NewTicker(u.Period)
	defer tick.Stop()
	for {
		pods, fresh, err := u.Read(ctx)
		if fresh {
			changed(pods)
		}
		u.note(err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (u *URL) note(err error) {
	switch {
	case err == nil:
		u.failed = 0
	case u.failed < loudFailures:
		u.failed++
		slog.Warn("Reading static pods failed", "url", u.Address, "err", err)
	}
}
