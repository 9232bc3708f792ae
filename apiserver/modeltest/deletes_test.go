package modeltest

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
)

// deletionOf says what a client asks of a DELETE.
func deletionOf(o op) deletion {
	seconds := func(n int64) *int64 { return &n }
	return deletion{
		policy: choose(o, dieFields, "", "Background", "Background", "Foreground", "Orphan"),
		grace:  choose(o, diePoint, nil, nil, nil, seconds(0), seconds(0), seconds(1500), seconds(500), seconds(-1)),
	}
}

// options are the same as a body.
func (how deletion) options() map[string]any {
	out := map[string]any{"apiVersion": "v1", "kind": "DeleteOptions"}
	if how.policy != "" {
		out["propagationPolicy"] = how.policy
	}
	if how.grace != nil {
		out["gracePeriodSeconds"] = *how.grace
	}
	return out
}

func (d *driver) delete(o op) error {
	k, through := pick(o)
	was := d.objects[k]
	how := deletionOf(o)
	options := how.options()
	wantCode := http.StatusOK
	switch {
	case was == nil:
		wantCode = http.StatusNotFound
	case o.dice[dieVariant]%6 == 0:
		options["preconditions"] = map[string]any{"uid": "nobody"}
		wantCode = http.StatusConflict
	case o.dice[dieVariant]%6 == 1:
		options["preconditions"] = map[string]any{"resourceVersion": "1"}
		wantCode = http.StatusConflict
	case o.dice[dieVariant]%6 == 2 && len(how.finalizers(was.finalizers)) >= len(was.finalizers):
		// Where a deletion takes finalizers away, upstream compares the revision with one that it has just replaced.
		options["preconditions"] = map[string]any{"uid": was.uid, "resourceVersion": was.version}
	}
	if dry(o) {
		options["dryRun"] = []string{"All"}
	}
	a, err := d.send(call{method: "DELETE", path: k.path(through), contentType: jsonT, body: options}, wholly(o, k.kind))
	if err != nil {
		return err
	}
	if a.code != wantCode {
		return fmt.Errorf("%v: %v, want %d", k, a, wantCode)
	}
	if a.code != http.StatusOK || dry(o) {
		return d.get(k)
	}
	return d.deleted(k, how)
}

// deleted is the effect of a delete.
func (d *driver) deleted(k modelKey, how deletion) error {
	for _, next := range d.objects[k].delete(k, how) {
		if next == nil {
			d.put(k, nil)
			return d.get(k)
		}
		if next.released() == nil {
			next.version = "" // nobody can ask for it
			d.put(k, next)
			continue
		}
		if err := d.came(k, next); err != nil {
			return fmt.Errorf("deleted %s: %w", how.options(), err)
		}
	}
	return nil
}

// hold adds a finalizer, which an object that is being deleted does not take.
func (d *driver) hold(o op) error {
	const finalizer = "example.com/kept"
	k, through := pick(o)
	was := d.objects[k]
	contentType := choose(o, dieVariant, mergeT, strategicT)
	if kinds[k.kind].custom() {
		contentType = mergeT
	}
	body := map[string]any{"metadata": map[string]any{"finalizers": []string{finalizer}}}
	a, err := d.send(call{method: "PATCH", path: k.path(through) + query(o), contentType: contentType, body: body}, mannerOf(o, k.kind))
	if err != nil {
		return err
	}
	if was == nil {
		return d.expect(o, k, nil, a, http.StatusNotFound)
	}
	want := was.clone()
	held := slices.Contains(was.finalizers, finalizer)
	switch {
	case was.deleting && !held:
		return d.expect(o, k, want, a, http.StatusUnprocessableEntity)
	case contentType == mergeT:
		want.finalizers = []string{finalizer}
	case !held:
		want.finalizers = append([]string{finalizer}, want.finalizers...) // what a patch adds comes first
	}
	return d.expect(o, k, want, a, http.StatusOK)
}

// release takes all finalizers off an object, which ends it if it is being deleted and its grace period is over.
func (d *driver) release(o op) error {
	k, through := pick(o)
	o.dice[dieDry] = 1 // not tried only
	body := map[string]any{"metadata": map[string]any{"finalizers": nil}}
	a, err := d.send(call{method: "PATCH", path: k.path(through) + query(o), contentType: mergeT, body: body}, mannerOf(o, k.kind))
	if err != nil {
		return err
	}
	was := d.objects[k]
	if was == nil {
		return d.expect(o, k, nil, a, http.StatusNotFound)
	}
	want := was.clone()
	want.finalizers = nil
	return d.expect(o, k, want, a, http.StatusOK)
}

// deleteCollection deletes what is selected, each object as if it were deleted alone.
func (d *driver) deleteCollection(o op) error {
	k, through := pick(o)
	c := collection{k.kind, k.namespace, choose(o, dieSelection, selectionsOf(k.kind)...)}
	how := deletionOf(o)
	keys := d.list(c)
	options, wantCode := how.options(), http.StatusOK
	if o.dice[dieVariant]%4 == 0 {
		options["preconditions"] = map[string]any{"uid": "nobody"}
		if len(keys) > 0 {
			wantCode = http.StatusConflict
		}
	}
	if dry(o) {
		options["dryRun"] = []string{"All"}
	}
	q := url.Values{"labelSelector": {c.labels}, "fieldSelector": {c.fields}}
	in := wholly(o, k.kind)
	a, err := d.send(call{method: "DELETE", path: k.collection(through) + "?" + q.Encode(), contentType: jsonT, body: options}, in)
	if err != nil || a.code != wantCode {
		return fmt.Errorf("%v, want %d %w", a, wantCode, err)
	}
	if wantCode != http.StatusOK {
		return nil
	}
	if got, want := answered(a.object, false), d.show(keys, false); !slices.Equal(got, want) {
		return fmt.Errorf("deleted %q, want %q", got, want)
	}
	for _, k := range keys {
		if dry(o) {
			err = d.get(k)
		} else {
			err = d.deleted(k, how)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
