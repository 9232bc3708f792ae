package fairness

import (
	"math"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/fields"

	"clipper/apiserver/fairness/fairqueue"
)

// Upstream's figures for what requests cost.
const (
	bytesPerSeat     = 100_000
	unknownSize      = 1_500_000
	maxListSeats     = 100
	maxMutatingSeats = 10
	watchesPerSeat   = 10
	eventTime        = 5 * time.Millisecond // for which a change keeps a seat busy per watchesPerSeat
)

// work estimates what a request costs at a level where none may have more than maxSeats.
func (c *Controller) work(r *Request, f *flow) fairqueue.Work {
	w := fairqueue.Work{Seats: 1}
	if !r.IsResource {
		return w
	}
	switch r.Verb {
	case "list", "watch":
		if r.Verb == "list" || sendsInitialEvents(r) {
			w.Seats = c.listSeats(r, f.level.capSeats(maxListSeats))
		}
	case "create", "update", "patch", "delete":
		if r.Resource == "serviceaccounts" && r.Subresource == "token" {
			return w // changes nothing that is watched
		}
		watchers := c.watches.interested(r)
		f.watchers.get().Observe(float64(watchers))
		return mutatingWork(watchers, f.level.capSeats(maxMutatingSeats))
	}
	return w
}

// sendsInitialEvents: such a watch begins with what a list would return.
func sendsInitialEvents(r *Request) bool {
	if asked, err := strconv.ParseBool(r.Query.Get("sendInitialEvents")); err == nil && asked {
		return true
	}
	revision := r.Query.Get("resourceVersion")
	return revision == "" || revision == "0"
}

// listSeats is by the memory that a list takes: it is put together as a whole before it is sent.
func (c *Controller) listSeats(r *Request, most int) int {
	count, size := c.config.Objects(r.Group, r.Version, r.Resource)
	if count > 0 && size <= 0 {
		size = unknownSize
	}
	if limit, err := strconv.Atoi(r.Query.Get("limit")); err == nil && limit > 0 {
		count = min(count, limit)
	}
	if r.Name != "" {
		count = min(count, 1)
	}
	return max(1, min(most, (count*size+bytesPerSeat-1)/bytesPerSeat))
}

// mutatingWork adds the events that a change sets off, if there are many. Wide work is made narrower and
// longer, for a wide request blocks others while it waits for room.
func mutatingWork(watchers, most int) fairqueue.Work {
	w := fairqueue.Work{Seats: 1}
	if watchers < watchesPerSeat {
		return w
	}
	seats := int(math.Ceil(float64(watchers) / watchesPerSeat))
	w.FinalSeats = min(seats, most)
	w.FinalTime = eventTime * time.Duration(seats) / time.Duration(w.FinalSeats)
	return w
}

// watches counts who watches what, to tell what a change costs.
type watches struct {
	mu     sync.RWMutex
	counts map[watched]int
}

type watched struct{ group, resource, namespace, name string }

// add counts a watch until the returned function is called. A watch of the pods of one node does not
// count: a change is sent to at most one of those.
func (w *watches) add(r *Request) (forget func()) {
	if node := nodeSelector(r); node != "" {
		return func() {}
	}
	key := watched{r.Group, r.Resource, r.Namespace, r.Name}
	w.count(key, 1)
	return func() { w.count(key, -1) }
}

func nodeSelector(r *Request) string {
	if r.Resource != "pods" || r.Query.Get("fieldSelector") == "" {
		return ""
	}
	selector, err := fields.ParseSelector(r.Query.Get("fieldSelector"))
	if err != nil {
		return ""
	}
	node, _ := selector.RequiresExactMatch("spec.nodeName")
	return node
}

func (w *watches) count(key watched, by int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.counts == nil {
		w.counts = map[watched]int{}
	}
	if w.counts[key] += by; w.counts[key] == 0 {
		delete(w.counts, key)
	}
}

// interested is how many watches may see a change that r makes: those of the resource, of its namespace and
// of the object.
func (w *watches) interested(r *Request) int {
	w.mu.RLock()
	defer w.mu.RUnlock()
	key := watched{group: r.Group, resource: r.Resource}
	n := w.counts[key]
	if r.Namespace != "" {
		key.namespace = r.Namespace
		n += w.counts[key]
	}
	if r.Name != "" {
		key.name = r.Name
		n += w.counts[key]
	}
	return n
}
