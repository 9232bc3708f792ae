package extremes

import (
	"fmt"
	"io"
	"net/http"
)

const (
	// leastAnswer is what a server may answer to any question: an object in a patch, in JSON, in base64, and much else.
	leastAnswer = 16 << 20
	// answerFactor is how many times as long as its question an answer may be: conversions have objects in both.
	answerFactor = 4
)

// BoundAnswers returns a transport that reads no more of an answer than its question is worth. Webhooks and identity
// providers are asked while a request waits, by libraries that read whatever comes to its end.
func BoundAnswers(next http.RoundTripper) http.RoundTripper { return answers{next} }

type answers struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := a.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	most := leastAnswer + answerFactor*max(r.ContentLength, 0)
	res.Body = &answer{res.Body, most, most}
	return res, nil
}

// WrappedRoundTripper shows client-go what is below.
func (a answers) WrappedRoundTripper() http.RoundTripper { return a.next }

// An answer ends with an error when it is too long.
type answer struct {
	io.ReadCloser
	left, most int64
}

// Read implements io.Reader.
func (a *answer) Read(p []byte) (int, error) {
	if int64(len(p)) > a.left+1 {
		p = p[:a.left+1] // one more tells what is too long from what is as long as may be
	}
	n, err := a.ReadCloser.Read(p)
	if a.left -= int64(n); a.left < 0 {
		a.left = 0
		return n - 1, fmt.Errorf("the answer is longer than %d bytes", a.most)
	}
	return n, err
}
