package modeltest

import (
	"fmt"
	"net/http"
	"sync"
)

// racers is how many clients want the same at the same time.
const racers = 4

// race lets clients write one object at the same time, all of whom know it as it is, or all of whom want to make it. One
// of them does it, and the others are told.
func (d *driver) race(o op) error {
	o.dice[dieDry] = 1
	k, through := pick(o)
	was, by := d.objects[k], updater(o, through, "")
	if was != nil && was.version == "" {
		return nil // not known as it is
	}
	c := call{method: "POST", path: k.collection(through) + query(o), contentType: jsonT}
	wantCode := http.StatusCreated
	if was != nil {
		c.method, c.path, wantCode = "PUT", k.path(through)+query(o), http.StatusOK
	}
	wants, answers, errs := [racers]*modelObject{}, [racers]answer{}, [racers]error{}
	var running sync.WaitGroup
	for i := range racers {
		fields := fieldsOf(o, k.kind, "base")
		fields["annotations/p"] = fmt.Sprintf("%d of %d", i, d.operation)
		c := c
		if was == nil {
			wants[i] = newObject(k.kind, fields, by)
			c.body = wants[i].body(k, through, false)
		} else {
			wants[i] = replace(was, fields, by)
			wants[i].forgetsStatus(through)
			body := wants[i].body(k, through, false)
			delete(body, "status")
			body["metadata"].(map[string]any)["resourceVersion"] = was.version
			c.body = body
		}
		running.Go(func() { answers[i], errs[i] = d.send(c, mannerOf(o, k.kind)) })
	}
	running.Wait()
	winner := -1
	for i, a := range answers {
		switch {
		case errs[i] != nil:
			return errs[i]
		case a.code == wantCode && winner < 0:
			winner = i
		case a.code != http.StatusConflict:
			return fmt.Errorf("%v: %v, beside others who want the same (%v)", k, a, answers)
		}
	}
	if winner < 0 {
		return fmt.Errorf("%v: nobody has written it: %v", k, answers)
	}
	return d.expect(o, k, wants[winner], answers[winner], wantCode)
}
