package apiserver_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// show tells objects as answered tells those of an answer.
func (m *model) show(keys []modelKey, versions bool) []string {
	out := []string{}
	for _, k := range keys {
		text := k.namespace + "/" + k.name
		if versions {
			text += " " + m.objects[k].version
		}
		out = append(out, text)
	}
	return out
}

// answered tells the items of a list.
func answered(list map[string]any, versions bool) []string {
	out := []string{}
	items, _ := list["items"].([]any)
	for _, item := range items {
		k, o := observed(item.(map[string]any))
		text := k.namespace + "/" + k.name
		if versions {
			text += " " + o.version
		}
		out = append(out, text)
	}
	return out
}

func listMeta(list map[string]any, name string) string {
	meta, _ := list["metadata"].(map[string]any)
	text, _ := meta[name].(string)
	return text
}

// listPath is the collection of a kind in a namespace, or in all of them.
func listPath(kind, namespace string) string {
	if namespace == "" {
		return kinds[kind].path + "/" + kind
	}
	return modelKey{kind: kind, namespace: namespace}.collection()
}

func namespaceOf(o op) string { return choose(o, 1, "", "one", "two") }

func (d *driver) listNow(o op) error {
	kind, namespace, s := d.pick(o).kind, namespaceOf(o), selectorOf(o)
	return d.compare(listPath(kind, namespace)+"?labelSelector="+url.QueryEscape(s.query()), d.show(d.list(kind, namespace, s), true))
}

func (d *driver) compare(path string, want []string) error {
	code, answer, err := d.send("GET", path, "", "")
	if err != nil {
		return err
	}
	if got := answered(answer, true); code != http.StatusOK || !slices.Equal(got, want) {
		return fmt.Errorf("%s: %d %q, want %q", path, code, got, want)
	}
	return nil
}

// listAt lists the state of a revision in the past.
func (d *driver) listAt(o op) error {
	if len(d.points) == 0 {
		return nil
	}
	p := choose(o, 3, d.points...)
	kind, namespace, s := d.pick(o).kind, namespaceOf(o), selectorOf(o)
	past := newModel()
	for _, c := range d.history[:p.length] {
		past.put(c.key, c.is)
	}
	query := url.Values{"labelSelector": {s.query()}, "resourceVersion": {p.revision}, "resourceVersionMatch": {"Exact"}}
	return d.compare(listPath(kind, namespace)+"?"+query.Encode(), past.show(past.list(kind, namespace, s), true))
}

// remember notes which revision the present history is.
func (d *driver) remember() error {
	code, answer, err := d.send("GET", "/api/v1/configmaps?limit=1", "", "")
	if err != nil || code != http.StatusOK {
		return fmt.Errorf("%d %v %w", code, answer, err)
	}
	d.points = append(d.points, point{listMeta(answer, "resourceVersion"), len(d.history)})
	return nil
}

// firstPage begins a list in pages, which must show one state however much happens between them.
func (d *driver) firstPage(o op) error {
	kind, namespace, s := d.pick(o).kind, namespaceOf(o), selectorOf(o)
	query := url.Values{"labelSelector": {s.query()}, "limit": {strconv.Itoa(1 + int(o.dice[5]%3))}}
	p := pager{kind: kind, query: listPath(kind, namespace) + "?" + query.Encode(), want: d.show(d.list(kind, namespace, s), true)}
	return d.turn(p)
}

func (d *driver) nextPage() error {
	if len(d.pagers) == 0 {
		return nil
	}
	p := d.pagers[0]
	d.pagers = d.pagers[1:]
	return d.turn(p)
}

// turn reads one page.
func (d *driver) turn(p pager) error {
	path := p.query
	if p.token != "" {
		path += "&continue=" + url.QueryEscape(p.token)
	}
	code, answer, err := d.send("GET", path, "", "")
	if err != nil {
		return err
	}
	got := answered(answer, true)
	if code != http.StatusOK || len(got) > len(p.want) || !slices.Equal(got, p.want[:len(got)]) {
		return fmt.Errorf("%s: %d, page %q, want it to begin %q", path, code, got, p.want)
	}
	p.want, p.token = p.want[len(got):], listMeta(answer, "continue")
	switch {
	case p.token != "":
		d.pagers = append(d.pagers, p)
	case len(p.want) > 0:
		return fmt.Errorf("%s: the list ends without %q", path, p.want)
	}
	return nil
}

// watch opens one, from now, from what there is, or from a revision in the past.
func (d *driver) watch(o op) error {
	if err := d.remember(); err != nil {
		return err
	}
	w := &modelWatch{kind: d.pick(o).kind, namespace: namespaceOf(o), selector: selectorOf(o)}
	return d.open(w, choose(o, 3, d.points...), o.dice[5]%3 == 0)
}
