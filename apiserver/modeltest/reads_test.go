package modeltest

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// path is a collection's address through a door; query asks for more than its selectors.
func (c collection) path(through door, query url.Values) string {
	path := modelKey{kind: c.kind, namespace: c.namespace}.collection(through)
	if query == nil {
		query = url.Values{}
	}
	if c.labels != "" {
		query.Set("labelSelector", c.labels)
	}
	if c.fields != "" {
		query.Set("fieldSelector", c.fields)
	}
	if c.namespace == "" { // of a cluster that is not the test's own some objects are not the model's either
		query.Set("fieldSelector", andAlso(c.fields, "metadata.namespace!=kube-system"))
	}
	return path + "?" + query.Encode()
}

// andAlso returns a field selector that asks for more.
func andAlso(fields, more string) string {
	if fields == "" {
		return more
	}
	return fields + "," + more
}

// collectionOf picks a collection, the door to it, and the manner in which a list of it is read.
func collectionOf(o op) (collection, door, manner) {
	k, through := pick(o)
	in := mannerOf(o, k.kind)
	in.list = true
	return collection{k.kind, choose(o, dieNamespace, append([]string{""}, kinds[k.kind].places()...)...), choose(o, dieSelection, selectionsOf(k.kind)...)}, through, in
}

// listNow lists the present state: without a revision, or one that is not older than what was seen last.
func (d *driver) listNow(o op) error {
	c, through, in := collectionOf(o)
	q := url.Values{}
	if o.dice[dieVariant]%3 == 0 {
		if err := d.remember(); err != nil {
			return err
		}
		q.Set("resourceVersion", d.points[len(d.points)-1].revision)
		if o.dice[dieVariant]%2 == 0 {
			q.Set("resourceVersionMatch", "NotOlderThan")
		}
	}
	return d.compare(c.path(through, q), in, d.show(d.list(c), true))
}

func (d *driver) compare(path string, in manner, want []string) error {
	a, err := d.send(call{method: "GET", path: path}, in)
	if err != nil {
		return err
	}
	if got := answered(a.object, true); a.code != http.StatusOK || !slices.Equal(got, want) {
		return fmt.Errorf("%s: %v %q, want %q", path, a, got, want)
	}
	return nil
}

// listAt lists the state of a revision in the past, whole or in pages.
func (d *driver) listAt(o op) error {
	if len(d.points) == 0 {
		return nil
	}
	p := choose(o, diePoint, d.points...)
	c, through, in := collectionOf(o)
	past := d.at(p.length)
	q := url.Values{"resourceVersion": {p.revision}, "resourceVersionMatch": {"Exact"}}
	if o.dice[dieVariant]%2 == 0 {
		c = c.pageable()
		q.Set("limit", strconv.Itoa(1+int(o.dice[dieVariant]%5)))
		next := url.Values{"limit": q["limit"]}
		return d.turn(pager{first: c.path(through, q), next: c.path(through, next), manner: in, want: past.show(past.list(c), true), of: c})
	}
	return d.compare(c.path(through, q), in, past.show(past.list(c), true))
}

// remember notes which revision the present history is.
func (d *driver) remember() error {
	a, err := d.send(call{method: "GET", path: "/api/v1/configmaps?limit=1"}, plainly)
	if err != nil || a.code != http.StatusOK {
		return fmt.Errorf("%v %w", a, err)
	}
	d.points = append(d.points, point{listMeta(a.object, "resourceVersion"), len(d.history)})
	return nil
}

// A pager is a list that goes on from page to page.
type pager struct {
	first, next string // the address of the first page, and of those behind it but for the token
	token       string
	manner      manner
	want        []string // what is still to come

	of       collection
	revision string   // that it shows
	last     modelKey // the last object that was shown
	stale    bool     // the server cannot know that revision any more
}

// pageable is the collection, or the whole one: where a field selector names the namespace of a list of all of them,
// upstream's second page begins where the first did.
func (c collection) pageable() collection {
	if c.namespace == "" && strings.Contains(c.fields, "metadata.namespace=") {
		c.selection = selections[0]
	}
	return c
}

// firstPage begins a list in pages, which must show one state however much happens between them.
func (d *driver) firstPage(o op) error {
	c, through, in := collectionOf(o)
	c = c.pageable()
	path := c.path(through, url.Values{"limit": {strconv.Itoa(1 + int(o.dice[dieVariant]%3))}})
	return d.turn(pager{first: path, next: path, manner: in, want: d.show(d.list(c), true), of: c})
}

func (d *driver) nextPage(op) error {
	if len(d.pagers) == 0 {
		return nil
	}
	p := d.pagers[0]
	d.pagers = d.pagers[1:]
	return d.turn(p)
}

// turn reads one page.
func (d *driver) turn(p pager) error {
	if p.stale {
		return d.renew(p)
	}
	path := p.first
	if p.token != "" {
		path = p.next + "&continue=" + url.QueryEscape(p.token)
	}
	a, err := d.send(call{method: "GET", path: path}, p.manner)
	if err != nil {
		return err
	}
	got := answered(a.object, true)
	if a.code != http.StatusOK || len(got) > len(p.want) || !slices.Equal(got, p.want[:len(got)]) {
		return fmt.Errorf("%s: %v, page %q, want it to begin %q", path, a, got, p.want)
	}
	p.want, p.token, p.revision = p.want[len(got):], listMeta(a.object, "continue"), listMeta(a.object, "resourceVersion")
	if shown := items(a.object); len(shown) > 0 {
		p.last, _, _ = observed(shown[len(shown)-1].(map[string]any))
	}
	switch {
	case p.token != "":
		d.pagers = append(d.pagers, p)
	case len(p.want) > 0:
		return fmt.Errorf("%s: the list ends without %q", path, p.want)
	}
	return nil
}
