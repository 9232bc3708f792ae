package apiserver

import (
	"net/http"
	"sync"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/net"
)

const (
	// Once warnings exceed this many characters in all, each is cut to warningRunes and, when those reach the
	// limit too, the rest is dropped: many HTTP clients refuse larger headers. Upstream's figures.
	maxWarningRunes = 4 << 10
	warningRunes    = 256
)

// Warnings become Warning headers of the answer, each text once, in the order of their coming. Admission may
// warn from several goroutines.
type warnings struct {
	mu      sync.Mutex
	texts   []string
	known   map[string]bool
	written int
	cut     bool // the texts did not fit and are cut
}

// A recorder lets libraries warn the client of a request.
type recorder struct{ q *request }

// AddWarning implements warning.Recorder.
func (r recorder) AddWarning(_, text string) { r.q.warn(text) }

// warn adds a Warning header.
func (q *request) warn(text string) { q.warnings.add(q.w.Header(), text) }

func (w *warnings) add(h http.Header, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if text == "" || w.known[text] || w.cut && w.written >= maxWarningRunes {
		return
	}
	if w.known == nil {
		w.known = map[string]bool{}
	}
	w.known[text] = true
	w.texts = append(w.texts, text)
	if !w.cut && w.written+utf8.RuneCountInString(text) > maxWarningRunes {
		w.startOver(h)
		return
	}
	w.write(h, text)
}

// startOver writes all texts again, cut.
func (w *warnings) startOver(h http.Header) {
	w.cut, w.written = true, 0
	h.Del("Warning")
	for _, text := range w.texts {
		w.write(h, text)
	}
}

func (w *warnings) write(h http.Header, text string) {
	n := utf8.RuneCountInString(text)
	if w.cut && n > warningRunes {
		n = warningRunes
		text = string([]rune(text)[:n])
	}
	header, err := net.NewWarningHeader(299, "-", text)
	if err != nil {
		return // control characters or no UTF-8: not to be had in a header
	}
	w.written += n
	h.Add("Warning", header)
}
