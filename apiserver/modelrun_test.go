package apiserver_test

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"clipper/apiserver/servertest"
)

var (
	modelSeed  = flag.Uint64("seed", 0, "of TestModel; 0: a few fixed ones and a new one")
	modelSteps = flag.Int("steps", 400, "operations of each run of TestModel")
)

// TestModel drives a server with random operations and compares every answer, every page of every list and every
// event of every watch with a model. What fails is made shorter before it is shown; the seed replays it.
func TestModel(t *testing.T) {
	seeds := []uint64{1, 2, uint64(time.Now().UnixNano())}
	if *modelSeed != 0 {
		seeds = []uint64{*modelSeed}
	}
	for _, seed := range seeds {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			ops := randomOps(seed, *modelSteps)
			err := runModel(t, ops)
			if err == nil {
				return
			}
			ops, err = shrink(t, ops, err)
			var story strings.Builder
			for _, o := range ops {
				fmt.Fprintln(&story, o.what, o.dice)
			}
			t.Fatalf("seed %d (run with -seed): after\n%s%v", seed, &story, err)
		})
	}
}

// An op is one operation. Its dice are thrown beforehand, so that it means the same, as far as possible, when
// operations before it are left out.
type op struct {
	what string
	dice [8]uint32
}

func randomOps(seed uint64, n int) []op {
	r := rand.New(rand.NewPCG(seed, seed))
	names := make([]string, 0, 100)
	for name, weight := range weights {
		names = append(names, slices.Repeat([]string{name}, weight)...)
	}
	slices.Sort(names)
	ops := make([]op, n)
	for i := range ops {
		ops[i].what = names[r.IntN(len(names))]
		for d := range ops[i].dice {
			ops[i].dice[d] = r.Uint32()
		}
	}
	return ops
}

// shrink leaves out operations, in ever smaller pieces, as long as what remains still fails.
func shrink(t *testing.T, ops []op, err error) ([]op, error) {
	tries := 60
	for size := len(ops) / 2; size > 0 && tries > 0; size /= 2 {
		for from := 0; from+size <= len(ops) && tries > 0; tries-- {
			fewer := slices.Concat(ops[:from], ops[from+size:])
			if still := runModel(t, fewer); still != nil {
				ops, err = fewer, still
			} else {
				from += size
			}
		}
	}
	return ops, err
}

// The kinds that are driven.
type modelKind struct {
	path, version, kind string
	createOnUpdate      bool
	spec                bool // a spec, a status subresource and a generation
}

var kinds = map[string]modelKind{
	"configmaps": {path: "/api/v1", version: "v1", kind: "ConfigMap"},
	"leases":     {path: "/apis/coordination.k8s.io/v1", version: "coordination.k8s.io/v1", kind: "Lease", createOnUpdate: true},
	"gizmos":     {path: "/apis/example.com/v1", version: "example.com/v1", kind: "Gizmo", spec: true},
}

const gizmoDefinition = `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"gizmos.example.com"},"spec":{
"group":"example.com","scope":"Namespaced","names":{"plural":"gizmos","kind":"Gizmo"},"versions":[{"name":"v1","served":true,"storage":true,
"subresources":{"status":{}},"schema":{"openAPIV3Schema":{"type":"object","properties":{
"spec":{"type":"object","properties":{"n":{"type":"integer"}}},"status":{"type":"object","properties":{"n":{"type":"integer"}}}}}}}]}}`

// A driver sends operations to a server and tells the model of them.
type driver struct {
	*model
	base    string
	client  *http.Client
	pagers  []pager
	watches []*modelWatch
	points  []point
	ends    context.Context
}

// A point is a revision with the length of the history that it stands for.
type point struct {
	revision string
	length   int
}

// A pager is a list that goes on from page to page.
type pager struct {
	kind, query, token string
	want               []string // what is still to come
}

// runModel runs ops against a new server and returns the first difference.
func runModel(t *testing.T, ops []op) error {
	s, err := servertest.Start(t.TempDir(), servertest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ends, cancel := context.WithCancel(context.Background())
	d := &driver{model: newModel(), base: s.URL, client: s.HTTPClient(), ends: ends}
	defer func() {
		cancel()
		for _, w := range d.watches {
			w.reading.Wait()
		}
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}()
	if err := d.define(); err != nil {
		return err
	}
	for i, o := range ops {
		d.operation = i
		if err := d.do(o); err != nil {
			return fmt.Errorf("operation %d, %s: %w", i, o.what, err)
		}
	}
	for _, w := range d.watches {
		if err := w.check(d.events(w.after, w.kind, w.namespace, w.selector)); err != nil {
			return err
		}
	}
	return nil
}

// define makes the custom resource and waits until it is served.
func (d *driver) define() error {
	if code, body, err := d.send("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", jsonT, gizmoDefinition); err != nil || code != 201 {
		return fmt.Errorf("define: %d %v %w", code, body, err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		code, _, err := d.send("GET", "/apis/example.com/v1/gizmos", "", "")
		if err != nil || code == 200 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the custom resource is not served: %d", code)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// send makes a request and reads the answer, if it is JSON.
func (d *driver) send(method, path, contentType, body string) (int, map[string]any, error) {
	r, err := http.NewRequest(method, d.base+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Authorization", "Bearer "+servertest.AdminToken)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	res, err := d.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, nil, err
	}
	var out map[string]any
	if strings.HasPrefix(res.Header.Get("Content-Type"), jsonT) {
		decoder := json.NewDecoder(strings.NewReader(string(text)))
		decoder.UseNumber()
		if err := decoder.Decode(&out); err != nil {
			return 0, nil, fmt.Errorf("%s %s: %w: %s", method, path, err, text)
		}
	}
	return res.StatusCode, out, nil
}

func (k modelKey) collection() string {
	return kinds[k.kind].path + "/namespaces/" + k.namespace + "/" + k.kind
}

func (k modelKey) path() string { return k.collection() + "/" + k.name }

// A modelWatch collects the events of one watch.
type modelWatch struct {
	kind, namespace string
	selector        modelSelector
	after           int      // the history that it starts behind
	first           []string // the initial events that come before
	events          chan string
	reading         sync.WaitGroup
}

// open starts a watch. initial: without a revision, so that it begins with what there is.
func (d *driver) open(w *modelWatch, from point, initial bool) error {
	query := url.Values{"watch": {"1"}, "labelSelector": {w.selector.query()}}
	w.after = from.length
	if initial {
		w.after = len(d.history)
		for _, k := range d.list(w.kind, w.namespace, w.selector) {
			w.first = append(w.first, "ADDED "+k.namespace+"/"+k.name+" "+d.objects[k].version)
		}
	} else {
		query.Set("resourceVersion", from.revision)
	}
	path := kinds[w.kind].path + "/" + w.kind
	if w.namespace != "" {
		path = kinds[w.kind].path + "/namespaces/" + w.namespace + "/" + w.kind
	}
	r, err := http.NewRequestWithContext(d.ends, "GET", d.base+path+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+servertest.AdminToken)
	res, err := d.client.Do(r)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		res.Body.Close()
		return fmt.Errorf("watch of %s from %v: %d", w.kind, from, res.StatusCode)
	}
	w.events = make(chan string, 4096) // more than a run has events
	w.reading.Go(func() {
		defer res.Body.Close()
		defer close(w.events)
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			w.events <- watchEvent(lines.Bytes())
		}
	})
	d.watches = append(d.watches, w)
	return nil
}

// watchEvent is an event as the model tells it. The revision of an end is not known to the model.
func watchEvent(line []byte) string {
	var e struct {
		Type   string
		Object map[string]any
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return err.Error()
	}
	k, o := observed(e.Object)
	text := e.Type + " " + k.namespace + "/" + k.name
	switch e.Type {
	case "DELETED":
		return text
	case "ERROR":
		return fmt.Sprint("ERROR ", e.Object["message"])
	}
	return text + " " + o.version
}

// check reads as many events as there must be. Those of one operation may come in any order.
func (w *modelWatch) check(then [][]string) error {
	var want [][]string
	for _, e := range w.first {
		want = append(want, []string{e})
	}
	for i, group := range append(want, then...) {
		got, err := w.read(len(group))
		slices.Sort(got)
		slices.Sort(group)
		if err != nil || !slices.Equal(got, group) {
			return fmt.Errorf("watch of %s in %q by %q, operation %d: %q, want %q (%v)", w.kind, w.namespace, w.selector.query(), i, got, group, err)
		}
	}
	return nil
}

// read waits for n events.
func (w *modelWatch) read(n int) ([]string, error) {
	var got []string
	for deadline := time.After(20 * time.Second); len(got) < n; {
		select {
		case e, ok := <-w.events:
			if !ok {
				return got, io.ErrUnexpectedEOF
			}
			got = append(got, e)
		case <-deadline:
			return got, context.DeadlineExceeded
		}
	}
	return got, nil
}
