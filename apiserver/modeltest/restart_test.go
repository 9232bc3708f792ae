package modeltest

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// restart stops the server in the middle of everything and starts it again on what it has stored. Watches end when they
// have told everything; they can be resumed from where that was. States before it are no longer known.
func (d *driver) restart(op) error {
	if d.again == nil { // not the test's own
		return nil
	}
	if err := d.checkWatches(); err != nil {
		return err
	}
	if err := d.remember(); err != nil {
		return err
	}
	last := d.points[len(d.points)-1]
	d.client.CloseIdleConnections()
	if err := d.stop(); err != nil {
		return err
	}
	for _, w := range d.watches {
		if e, err := w.read(1); err != nil || !strings.HasPrefix(e[0], ended) {
			return fmt.Errorf("watch of %s when the server stops: %q (%v), want its end", w.kind, e, err)
		}
		w.reading.Wait()
	}
	d.watches = nil
	next, err := d.again()
	if err != nil {
		return err
	}
	d.server = next
	for _, door := range kinds["gizmos"].doors {
		if err := d.serves(door); err != nil {
			return err
		}
	}
	d.forgetBefore(last)
	return d.everything()
}

func (d *driver) checkWatches() error {
	for _, w := range d.watches {
		if err := w.check(d.events(w.after, w.collection)); err != nil {
			return err
		}
	}
	return nil
}

// forgetBefore tells points of time, and lists that go on, which cannot be read any more, from those that can.
func (d *driver) forgetBefore(last point) {
	kept := d.points[:0:0]
	for _, p := range d.points {
		if older(p.revision, last.revision) {
			d.gone = append(d.gone, p)
		} else {
			kept = append(kept, p)
		}
	}
	d.points = kept
	for i := range d.pagers {
		d.pagers[i].stale = d.pagers[i].stale || older(d.pagers[i].revision, last.revision)
	}
}

// older compares revisions, which are numbers for whoever has written them.
func older(a, b string) bool {
	m, _ := strconv.ParseInt(a, 10, 64)
	n, _ := strconv.ParseInt(b, 10, 64)
	return m < n
}

// everything compares all objects that there are.
func (d *driver) everything() error {
	for kind := range kinds {
		c := collection{kind: kind, selection: selections[0]}
		if err := d.compare(c.path(kinds[kind].doors[0], nil), plainly, d.show(d.list(c), true)); err != nil {
			return err
		}
	}
	return nil
}

// forgotten asks for a state that is no longer known: a list is refused, and so is a watch.
func (d *driver) forgotten(o op) error {
	if len(d.gone) == 0 {
		return nil
	}
	p := choose(o, diePoint, d.gone...)
	c, through, in := collectionOf(o)
	q := url.Values{"resourceVersion": {p.revision}, "resourceVersionMatch": {"Exact"}}
	a, err := d.send(call{method: "GET", path: c.path(through, q)}, in)
	if err != nil {
		return err
	}
	if a.code != http.StatusGone || a.object["reason"] != "Expired" {
		return fmt.Errorf("list at revision %s, from before a restart: %v, want it to have expired", p.revision, a)
	}
	in.list = false
	if in.answer.framer == nil {
		in.answer = asJSON
	}
	w := &modelWatch{collection: c}
	if err := d.open(w, call{method: "GET", path: c.path(through, url.Values{"watch": {"1"}, "resourceVersion": {p.revision}})}, in); err != nil {
		return err
	}
	d.watches = d.watches[:len(d.watches)-1] // it ends at once
	if e, err := w.read(2); err != nil || !strings.HasPrefix(e[0], "ERROR too old resource version") || !strings.HasPrefix(e[1], ended) {
		return fmt.Errorf("watch from revision %s, from before a restart: %q (%v)", p.revision, e, err)
	}
	return nil
}

// renew goes on with a list whose state is no longer known: with what there is now behind its last object.
func (d *driver) renew(p pager) error {
	a, err := d.send(call{method: "GET", path: p.next + "&continue=" + url.QueryEscape(p.token)}, p.manner)
	if err != nil {
		return err
	}
	token := listMeta(a.object, "continue")
	if a.code != http.StatusGone || a.object["reason"] != "Expired" || token == "" {
		return fmt.Errorf("%s: %v, token %q, want it to have expired and another to go on", p.next, a, token)
	}
	keys := slices.DeleteFunc(d.list(p.of), func(k modelKey) bool { return k.compare(p.last) <= 0 })
	p.token, p.stale, p.want = token, false, d.show(keys, true)
	return d.turn(p)
}
