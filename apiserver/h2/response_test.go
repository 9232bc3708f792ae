package h2

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// answers are handlers that use all that an http.ResponseWriter can.
var answers = map[string]http.HandlerFunc{
	"nothing": func(http.ResponseWriter, *http.Request) {},
	"status":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(418) },
	"small":   func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"a": 1}`) },
	"html":    func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
	"large":   func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("abcdefgh", 40_000)) },
	"pieces":  func(w http.ResponseWriter, _ *http.Request) { pieces(w, 3000, 20) },
	"edge":    func(w http.ResponseWriter, _ *http.Request) { pieces(w, pieceSize, 3) },
	"no content": func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(204)
		_, err := w.Write([]byte("x"))
		show(w, err)
	},
	"not modified": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) },
	"twice": func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(201)
		w.WriteHeader(500)
		fmt.Fprint(w, "x")
	},
	"too late":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200); w.Header().Set("Late", "1") },
	"flushed early": func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush(); fmt.Fprint(w, "x") },
	"flushed": func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "one")
		w.(http.Flusher).Flush()
		fmt.Fprint(w, "two")
	},
	"fields": func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h["Many"] = []string{"a", "b"}
		h.Set("Audit-Id", "x")
		h["odd"] = []string{"kept"}
		h["bad name"] = []string{"dropped"}
		h["Bad-Value"] = []string{"a\nb"}
		h.Set("Transfer-Encoding", "chunked")
		h.Set("Content-Type", "application/json")
		h.Set("Date", "Thu, 01 Jan 1970 00:00:00 GMT")
		fmt.Fprint(w, "x")
	},
	"encoded": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		fmt.Fprint(w, "x")
	},
	"length": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "3")
		fmt.Fprint(w, "abc")
		w.(http.Flusher).Flush()
		_, err := fmt.Fprint(w, "d")
		if err == nil {
			panic("more than was declared")
		}
	},
	"bad length": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "-3")
		fmt.Fprint(w, "abc")
	},
	"trailer": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "A, B")
		fmt.Fprint(w, "x")
		w.Header().Set("A", "1")
		w.Header().Set(http.TrailerPrefix+"C", "3")
	},
	"trailer alone": func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "3")
	},
	"interim": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a>")
		w.WriteHeader(103)
		w.Header().Set("Link", "</b>")
		fmt.Fprint(w, "x")
	},
	"long fields": func(w http.ResponseWriter, _ *http.Request) {
		for i := range 30 {
			w.Header().Set(fmt.Sprintf("Long-%d", i), strings.Repeat(string(rune('a'+i%26)), 4000))
		}
	},
	"aborted":         func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) },
	"aborted amid it": func(w http.ResponseWriter, _ *http.Request) { pieces(w, 5000, 2); panic("x") },
	"past deadline": func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Unix(1, 0))
		_, err := w.Write(make([]byte, 5000))
		show(w, err)
	},
	"request": func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Method, r.URL, r.RequestURI, r.Host, r.Proto, r.ProtoMajor, r.ContentLength, r.Header, r.Trailer, r.TLS.NegotiatedProtocol, r.RemoteAddr != "")
		body, err := io.ReadAll(r.Body)
		fmt.Fprint(w, len(body), err, r.Trailer)
	},
	"read deadline": func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		_, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, err)
	},
	"body left": func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "enough") },
	"body closed": func(w http.ResponseWriter, r *http.Request) {
		r.Body.Close()
		_, err := r.Body.Read(make([]byte, 1))
		fmt.Fprint(w, err != nil)
	},
}

func pieces(w io.Writer, size, n int) {
	for range n {
		_, _ = w.Write(make([]byte, size))
	}
}

// show is for an error that ends up in the test's output if there is none.
func show(w http.ResponseWriter, err error) {
	if err == nil {
		panic("written")
	}
}

// questions are requests that go to all of them.
var questions = map[string]func(url string) *http.Request{
	"GET":  func(url string) *http.Request { return question("GET", url, nil) },
	"HEAD": func(url string) *http.Request { return question("HEAD", url, nil) },
	"POST": func(url string) *http.Request { return question("POST", url, strings.NewReader("abc")) },
	"POST without an end": func(url string) *http.Request {
		pr, pw := io.Pipe()
		time.AfterFunc(20*time.Second, func() { pw.CloseWithError(errors.New("never to be seen")) })
		return question("POST", url, pr)
	},
	"POST of much": func(url string) *http.Request {
		return question("POST", url, io.LimitReader(neverEnding('x'), 900_000))
	},
	"PUT with trailer": func(url string) *http.Request {
		r := question("PUT", url, io.LimitReader(neverEnding('x'), 70_000))
		r.Trailer = http.Header{"A": {"1"}, "B": nil}
		return r
	},
	"continue": func(url string) *http.Request {
		r := question("POST", url, strings.NewReader("abc"))
		r.Header.Set("Expect", "100-continue")
		return r
	},
	"fields": func(url string) *http.Request {
		r := question("GET", url+"?a=b%20c", nil)
		r.Header["Cookie"] = []string{"a=b", "c=d"}
		r.Header["X-Unheard-Of"] = []string{"1", "2"}
		r.Host = "other.example"
		return r
	},
}

type neverEnding byte

func (b neverEnding) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}

func question(method, url string, body io.Reader) *http.Request {
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		panic(err)
	}
	return r
}

// seen is what a client sees of an answer.
type seen struct {
	Status  int
	Header  http.Header
	Length  int64
	Body    string
	Trailer http.Header
	Failed  bool
	Interim []string
}

// TestAnswers: clients see what the server of x/net shows them.
func TestAnswers(t *testing.T) {
	mux := http.NewServeMux()
	for name, h := range answers {
		mux.HandleFunc("/"+strings.ReplaceAll(name, " ", "-"), h)
	}
	ours, theirs := start(t, mux, true), start(t, mux, false)
	for name := range answers {
		for how, ask := range questions {
			endless := strings.Contains(how, "without an end")
			if endless && name == "request" || !endless && name == "read deadline" {
				continue // what comes first, the end or an error, is chance
			}
			t.Run(name+"/"+how, func(t *testing.T) {
				t.Parallel()
				path := "/" + strings.ReplaceAll(name, " ", "-")
				got, want := look(t, ours, ask(ours.URL+path)), look(t, theirs, ask(theirs.URL+path))
				for _, s := range []*seen{&got, &want} {
					s.Body = strings.NewReplacer(ours.URL[8:], "host", theirs.URL[8:], "host").Replace(s.Body)
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("clients see\n%+v, not\n%+v", brief(got), brief(want))
				}
			})
		}
	}
}

func brief(s seen) seen {
	s.Body = s.Body[:min(len(s.Body), 500)]
	return s
}

// start starts a server of this package, or of x/net.
func start(t testing.TB, h http.Handler, ours bool) *httptest.Server {
	if ours {
		return startWith(t, h, Options{MaxStreams: 100, StreamWindow: 256 << 10, ConnWindow: 1 << 20, IdleTimeout: time.Minute})
	}
	return startAs(t, h, func(s *httptest.Server) error {
		return http2.ConfigureServer(s.Config, &http2.Server{MaxUploadBufferPerStream: 256 << 10, MaxUploadBufferPerConnection: 1 << 20})
	})
}

func startWith(t testing.TB, h http.Handler, o Options) *httptest.Server {
	return startAs(t, h, func(s *httptest.Server) error {
		s.Listener = Listen(s.Listener)
		return Configure(s.Config, o)
	})
}

func startAs(t testing.TB, h http.Handler, configure func(*httptest.Server) error) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if err := configure(s); err != nil {
		t.Fatal(err)
	}
	s.TLS = s.Config.TLSConfig
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// look returns what a client sees.
func look(t *testing.T, s *httptest.Server, r *http.Request) seen {
	tr := &http.Transport{ForceAttemptHTTP2: true, DisableCompression: true, ExpectContinueTimeout: time.Minute,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // #nosec G402 -- a test server
	defer tr.CloseIdleConnections()
	var interim []string
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		interim = append(interim, fmt.Sprint(code, h))
		return nil
	}}
	a, err := tr.RoundTrip(r.WithContext(httptrace.WithClientTrace(t.Context(), trace)))
	if err != nil {
		return seen{Failed: true, Interim: interim}
	}
	defer a.Body.Close()
	if a.ProtoMajor != 2 {
		t.Errorf("HTTP/%d", a.ProtoMajor)
	}
	body, err := io.ReadAll(a.Body)
	if a.Header.Get("Date") != "Thu, 01 Jan 1970 00:00:00 GMT" {
		if _, err := http.ParseTime(a.Header.Get("Date")); err != nil {
			t.Error(err)
		}
		a.Header.Del("Date")
	}
	out := seen{a.StatusCode, a.Header, a.ContentLength, string(body), a.Trailer, err != nil, interim}
	if err != nil {
		out.Body = "" // how much came before is chance
	}
	return out
}
