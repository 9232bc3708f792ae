package modeltest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// A modelWatch collects the events of one watch.
type modelWatch struct {
	collection
	after   int      // the history that it starts behind
	first   []string // the initial events that come before
	events  chan string
	reading sync.WaitGroup
}

const (
	initialEventsEnd = "BOOKMARK initial events end"
	ended            = "the watch ends: "
)

// watch opens one: from a revision in the past, from what there is, or as a list that goes on.
func (d *driver) watch(o op) error {
	if err := d.remember(); err != nil {
		return err
	}
	c, through, in := collectionOf(o)
	in.list = false
	if in.answer.framer == nil {
		in.answer = asJSON
	}
	w := &modelWatch{collection: c, after: len(d.history)}
	q := url.Values{"watch": {"1"}}
	switch o.dice[dieVariant] % 4 {
	case 0:
		w.first = d.initial(c)
	case 1:
		w.first = append(d.initial(c), initialEventsEnd)
		q.Set("sendInitialEvents", "true")
		q.Set("allowWatchBookmarks", "true")
		q.Set("resourceVersionMatch", "NotOlderThan")
		if o.dice[diePoint]%2 == 0 {
			q.Set("resourceVersion", d.points[len(d.points)-1].revision)
		}
	default:
		from := choose(o, diePoint, d.points...)
		w.after = from.length
		q.Set("resourceVersion", from.revision)
		if o.dice[dieVariant]%3 == 0 {
			q.Set("allowWatchBookmarks", "true")
		}
	}
	return d.open(w, call{method: "GET", path: c.path(through, q)}, in)
}

// initial are the events that tell what there is.
func (d *driver) initial(c collection) (out []string) {
	for _, k := range d.list(c) {
		out = append(out, "ADDED "+k.namespace+"/"+k.name+" "+d.objects[k].version)
	}
	return out
}

func (d *driver) open(w *modelWatch, c call, in manner) error {
	r, err := c.request(d.base, in)
	if err != nil {
		return err
	}
	res, err := d.client.Do(r.WithContext(d.ends))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		return fmt.Errorf("watch of %s as %s: %d %s %w", c.path, in.accept(), res.StatusCode, text, err)
	}
	w.events = make(chan string, 4096) // more than a run has events
	w.reading.Go(func() {
		defer res.Body.Close()
		defer close(w.events)
		err := readEvents(res.Body, in.answer, func(kind string, object map[string]any) {
			if e := watchEvent(kind, object); e != "" {
				w.events <- e
			}
		})
		w.events <- ended + err.Error()
	})
	d.watches = append(d.watches, w)
	return nil
}

// watchEvent is an event as the model tells it: "" for none. The revision of an end is not known to the model.
func watchEvent(kind string, object map[string]any) string {
	k, o, _ := observed(object)
	text := kind + " " + k.namespace + "/" + k.name
	switch kind {
	case "DELETED":
		return text
	case "ERROR":
		return fmt.Sprint("ERROR ", object["message"])
	case "BOOKMARK":
		if o.fields["annotations/k8s.io/initial-events-end"] == "true" {
			return initialEventsEnd
		}
		return "" // they come when the server likes
	}
	return text + " " + o.version
}

// check reads as many events as there must be. Those of one operation may come in any order if they are of several
// objects.
func (w *modelWatch) check(then [][]string) error {
	var want [][]string
	for _, e := range w.first {
		want = append(want, []string{e})
	}
	for i, group := range append(want, then...) {
		got, err := w.read(len(group))
		slices.SortStableFunc(got, byObject)
		slices.SortStableFunc(group, byObject)
		if err != nil || !slices.EqualFunc(got, group, sameEvent) {
			return fmt.Errorf("watch of %s in %q by %q %q, group %d: %q, want %q (%v)", w.kind, w.namespace, w.labels, w.fields, i, got, group, err)
		}
	}
	return nil
}

// byObject orders events by what they are of.
func byObject(a, b string) int { return slices.Compare(strings.Fields(a)[1:2], strings.Fields(b)[1:2]) }

// sameEvent compares an event with the one that is wanted, whose revision may not be known.
func sameEvent(got, want string) bool {
	return got == want || strings.HasSuffix(want, " ") && strings.HasPrefix(got, want)
}

// read waits for n events.
func (w *modelWatch) read(n int) ([]string, error) {
	var got []string
	for deadline := time.After(10 * time.Second); len(got) < n; {
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
