package apiserver_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/apiserver/servertest"
	"clipper/catalogue/all"
)

// oneConnection returns a client that sends all over one connection, and is sent little of a stream ahead of its reader.
func oneConnection() *http.Client {
	return &http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // #nosec G402 -- a test server
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10, MaxReceiveBufferPerConnection: 1 << 20},
	}}
}

// A stream is a watch that is read by hand.
type stream struct {
	t     *testing.T
	lines *bufio.Scanner
	close func()
}

func watchOver(t *testing.T, c *http.Client, s *servertest.Server, path string, header ...string) *stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	r, err := http.NewRequestWithContext(ctx, "GET", s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+servertest.AdminToken)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK || res.ProtoMajor != 2 {
		t.Fatalf("%s %s", res.Proto, res.Status)
	}
	w := &stream{t: t, lines: bufio.NewScanner(res.Body), close: func() { cancel(); res.Body.Close() }}
	w.lines.Buffer(nil, 1<<20)
	t.Cleanup(w.close)
	return w
}

// names reads n events and returns the objects' names.
func (w *stream) names(n int) []string {
	w.t.Helper()
	var out []string
	for len(out) < n {
		if !w.lines.Scan() {
			w.t.Fatalf("ended after %d events: %v", len(out), w.lines.Err())
		}
		var e struct {
			Type   string
			Object corev1.ConfigMap
		}
		if err := json.Unmarshal(w.lines.Bytes(), &e); err != nil || e.Type != "ADDED" {
			w.t.Fatalf("%v: %.200s", err, w.lines.Bytes())
		}
		out = append(out, e.Object.Name)
	}
	return out
}

func addConfigMaps(t *testing.T, c *http.Client, s *servertest.Server, prefix string, n, size int) (names []string) {
	t.Helper()
	for i := range n {
		name := fmt.Sprintf("%s-%d", prefix, i)
		if err := addConfigMap(c, s, name, size); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

func addConfigMap(c *http.Client, s *servertest.Server, name string, size int) error {
	body := fmt.Sprintf(`{"metadata":{"name":%q},"data":{"a":%q}}`, name, strings.Repeat("x", size))
	r, err := http.NewRequest("POST", s.URL+cms, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+servertest.AdminToken)
	res, err := c.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		return fmt.Errorf("create %s: %s", name, res.Status)
	}
	return nil
}

// TestNeighboursOfASlowWatch: a watch that its client does not read holds up no other on its connection, and misses nothing.
func TestNeighboursOfASlowWatch(t *testing.T) {
	s := start(t, servertest.Options{})
	c := oneConnection()
	defer c.CloseIdleConnections()
	slow := watchOver(t, c, s, cms+"?watch=1")
	quick := watchOver(t, c, s, cms+"?watch=1")
	same := func(got, wanted []string) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(wanted) {
			t.Errorf("%d events %.300q, wanted %.300q", len(got), got, wanted)
		}
	}
	first := addConfigMaps(t, c, s, "first", 3, 10)
	same(slow.names(3), first)
	same(quick.names(3), first)
	large := addConfigMaps(t, c, s, "large", 100, 5000) // eight times what the client has room for
	same(quick.names(100), large)
	same(slow.names(60), large[:60])
	more := addConfigMaps(t, c, s, "more", 100, 5000)
	same(quick.names(100), more)
	same(slow.names(140), append(large[60:], more...))
	last := addConfigMaps(t, c, s, "last", 3, 10) // it keeps up again
	same(slow.names(3), last)
	same(quick.names(3), last)
}

// TestWatchesComeAndGo: watches of one connection begin and end while there is much to send; each is sent all that comes after
// where it begins, in order.
func TestWatchesComeAndGo(t *testing.T) {
	s := start(t, servertest.Options{})
	c := oneConnection()
	defer c.CloseIdleConnections()
	over := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-over:
				return
			default:
			}
			if err := addConfigMap(c, s, fmt.Sprintf("w-%d", i), 100); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("watches", func(t *testing.T) {
		for i := range 8 {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				for range 10 {
					w := watchOver(t, c, s, cms+"?watch=1&resourceVersion="+present(t, c, s))
					followEachOther(t, w.names(5+i))
					w.close()
				}
			})
		}
	})
	close(over)
	writer.Wait()
}

// present returns the revision of a list.
func present(t *testing.T, c *http.Client, s *servertest.Server) string {
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+cms+"?limit=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+servertest.AdminToken)
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var list corev1.ConfigMapList
	if err := json.NewDecoder(res.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	return list.ResourceVersion
}

func followEachOther(t *testing.T, names []string) {
	last := -1
	for _, name := range names {
		var n int
		if _, err := fmt.Sscanf(name, "w-%d", &n); err != nil || last >= 0 && n != last+1 {
			t.Errorf("w-%d is followed by %s", last, name)
		}
		last = n
	}
}

// TestPanicOfOneWatch: a watch whose events cannot be made ends, and the others of its connection go on.
func TestPanicOfOneWatch(t *testing.T) {
	resources := slices.Clone(all.Resources())
	for i, r := range resources {
		if r.Prefix == "configmaps" {
			changed := *r
			changed.Columns = []metav1.TableColumnDefinition{{Name: "Name", Type: "string"}}
			changed.Row = func(obj api.Object, _ time.Time) []any {
				if obj.GetName() == "bad-0" {
					panic("a row that cannot be made")
				}
				return []any{obj.GetName()}
			}
			resources[i] = &changed
		}
	}
	s := start(t, servertest.Options{Resources: resources})
	c := oneConnection()
	defer c.CloseIdleConnections()
	table := watchOver(t, c, s, cms+"?watch=1", "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
	plain := watchOver(t, c, s, cms+"?watch=1")
	good, bad := addConfigMaps(t, c, s, "good", 2, 10), addConfigMaps(t, c, s, "bad", 2, 10)
	if got := plain.names(4); !slices.Equal(got, append(good, bad...)) {
		t.Errorf("the other watch was sent %q", got)
	}
	for range good {
		if !table.lines.Scan() || !strings.Contains(table.lines.Text(), "good-") {
			t.Errorf("%v: %s", table.lines.Err(), table.lines.Text())
		}
	}
	if table.lines.Scan() || table.lines.Err() == nil {
		t.Errorf("it goes on, or ends as if nothing were wrong: %s", table.lines.Text())
	}
	if got := addConfigMaps(t, c, s, "more", 1, 10); !slices.Equal(plain.names(1), got) {
		t.Error("the other watch does not go on")
	}
}
