package apiserver

import (
	"slices"
	"sync"
	"time"

	"clipper/apiserver/h2"
	"clipper/apiserver/pipeline"
	"clipper/store"
)

// A carrier sends the events of all watches that share a connection, from one goroutine. Otherwise a change would wake a
// goroutine for each of them, and that costs more than what there is to send. It does only what can be done at once: a
// watch whose client does not keep up goes back to the goroutine of its request, which may wait (ride.go).
type carrier struct {
	connection h2.Connection
	bell       chan struct{} // something has changed
	stop       chan struct{}
	ended      chan struct{}

	mu     sync.Mutex
	routes map[string]*route // by storage prefix
}

// A route is the watches of one resource.
type route struct {
	changed *store.Listener
	watches []*watcher
}

// carriers are those of all connections that have watches.
type carriers struct {
	pipeline *pipeline.Pipeline

	mu           sync.Mutex
	byConnection map[h2.Connection]*carrier
}

func newCarriers(p *pipeline.Pipeline) *carriers {
	return &carriers{pipeline: p, byConnection: map[h2.Connection]*carrier{}}
}

// attach hands a watch to the carrier of its connection, for as long as it lasts.
func (cs *carriers) attach(w *watcher, conn h2.Connection) *carrier {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := cs.byConnection[conn]
	if c == nil {
		c = &carrier{connection: conn, bell: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{}),
			routes: map[string]*route{}}
		cs.byConnection[conn] = c
		go c.run()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	resource := w.q.kind.Resource
	r := c.routes[resource.Prefix]
	if r == nil {
		r = &route{changed: store.NewListener(c.bell)}
		c.routes[resource.Prefix] = r
		cs.pipeline.Listen(resource, r.changed)
	}
	r.watches = append(r.watches, w)
	return c
}

// detach ends what attach has begun. With a connection's last watch its carrier ends.
func (cs *carriers) detach(w *watcher, c *carrier) {
	if cs.remove(w, c) {
		close(c.stop)
		<-c.ended
	}
}

func (cs *carriers) remove(w *watcher, c *carrier) (last bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	resource := w.q.kind.Resource
	r := c.routes[resource.Prefix]
	r.watches = slices.DeleteFunc(r.watches, func(other *watcher) bool { return other == w })
	if len(r.watches) == 0 {
		cs.pipeline.Unlisten(resource, r.changed)
		delete(c.routes, resource.Prefix)
	}
	if len(c.routes) > 0 {
		return false
	}
	delete(cs.byConnection, c.connection)
	return true
}

const (
	// restPerWatch is how long a carrier rests for each watch that it has just looked after. When changes come one on the
	// other, those of the meantime go to each watch together: a frame costs its client as much as a few events.
	restPerWatch = 50 * time.Microsecond
	// minRest is as short as rests are worth while; those of a few watches would be shorter, and are left out.
	minRest = time.Millisecond
	maxRest = 10 * time.Millisecond
)

// restAfter is how long a carrier rests when it has looked after n watches.
func restAfter(n int) time.Duration {
	if rest := min(time.Duration(n)*restPerWatch, maxRest); rest >= minRest {
		return rest
	}
	return 0
}

// run sends what there is whenever something has changed.
func (c *carrier) run() {
	defer close(c.ended)
	var watches []*watcher
	for {
		select {
		case <-c.bell:
		case <-c.stop:
			return
		}
		watches = c.concerned(watches[:0])
		c.carry(watches)
		clear(watches)
		if rest := restAfter(len(watches)); rest > 0 && !c.rest(rest) {
			return
		}
	}
}

// rest waits, unless it is to stop.
func (c *carrier) rest(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-c.stop:
		return false
	}
}

// concerned appends the watches of resources that have changed.
func (c *carrier) concerned(to []*watcher) []*watcher {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.routes {
		if r.changed.Rung() {
			to = append(to, r.watches...)
		}
	}
	return to
}

// carry sends the events of each watch, and writes all of them together. When one has been cut off because the client takes
// nothing, the others would only be the next: they go back, so that they wait side by side.
func (c *carrier) carry(watches []*watcher) {
	stuck := false
	for _, w := range watches {
		if stuck {
			w.ride.alight()
		} else if !w.carried() {
			stuck = w.q.cut.Load()
		}
	}
	c.connection.Push()
}
