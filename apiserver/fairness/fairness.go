// Package fairness is API priority and fairness: it lets requests in as long as there are seats, by
// priority level and flow, so that no client can keep others from being served.
//
// A FlowSchema says to which PriorityLevelConfiguration a request belongs and what its flow is. Each level
// has its share of the server's seats; levels lend to each other what they do not need. Within a level
// requests wait in fair queues (package fairqueue) for a while and are then rejected with 429. The
// Controller holds this configuration, follows its objects and keeps the ones that every cluster has.
//
// A request that finds a seat at once costs about a microsecond and no memory of its own: its Ticket is
// part of the caller's request. Requests from within the process do not come here.
package fairness

import (
	"context"
	"hash/maphash"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"clipper/api"
	"clipper/apiserver/fairness/fairqueue"
)

// Config is what a Controller is made of.
type Config struct {
	Client api.Client // as the API server
	Seats  int        // of the whole server: requests that are served at the same time
	// Objects returns how many objects a resource has and how large one is on average.
	Objects func(group, version, resource string) (count, size int)
	Log     *slog.Logger // nil: slog.Default
}

// A Controller decides which requests may run.
type Controller struct {
	config  Config
	start   time.Time
	seed    maphash.Seed
	watches watches
	metrics *metrics

	current atomic.Pointer[setup]
	synced  atomic.Bool
	flows   sync.Map // flowKey → *flowStats: they outlive changes of the configuration

	mu      sync.Mutex // held while current is replaced and seats are divided
	factor  float64    // of the last division
	updates map[string][]time.Time
}

// New returns a controller that knows nothing but what every server must have.
func New(cfg Config) *Controller {
	c := &Controller{config: cfg, start: time.Now(), seed: maphash.MakeSeed(), metrics: newMetrics(), updates: map[string][]time.Time{}}
	if c.config.Log == nil {
		c.config.Log = slog.Default()
	}
	c.digest(nil, nil)
	return c
}

func (c *Controller) now() time.Duration { return time.Since(c.start) }

// A Request is what classification looks at.
type Request struct {
	User       user.Info
	IsResource bool
	Verb       string
	Path       string

	Group, Version, Resource, Subresource string
	Namespace, Name                       string
	Query                                 url.Values // of lists and watches
}

// A Ticket is a request's place in the server. Fill in Request, then Admit.
type Ticket struct {
	Request Request
	Waited  time.Duration // in a queue

	flow *flow
	item fairqueue.Item
	wake chan struct{} // closed when a waiting request gets its seats
}

// Admit waits until the request may run, but no longer than wait, and reports whether it may. After true
// Release must be called, exactly when the request no longer occupies the server: a watch that has sent
// its initial events does not.
func (c *Controller) Admit(ctx context.Context, t *Ticket, wait time.Duration) bool {
	f := c.current.Load().match(&t.Request)
	t.flow = f
	t.item.Owner = t
	t.item.Work = c.work(&t.Request, f)
	f.seats.get().Observe(float64(t.item.Work.Width()))
	switch f.level.arrive(t, c.now(), c.hash(f, &t.Request)) {
	case fairqueue.Served:
	case fairqueue.Queued:
		if !c.wait(ctx, t, wait) {
			f.waited(false).Observe(t.Waited.Seconds())
			return false
		}
	default:
		f.waited(false).Observe(0)
		return false
	}
	if !f.level.exempt {
		f.waited(true).Observe(t.Waited.Seconds())
	}
	return true
}

// wait blocks until the ticket has its seats, the time is up or the client is gone.
func (c *Controller) wait(ctx context.Context, t *Ticket, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	arrived := t.item.Arrived
	defer func() { t.Waited = c.now() - arrived }()
	select {
	case <-t.wake:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return !t.flow.level.abandon(t, c.now())
}

// Release gives the request's seats back. It may be called again.
func (c *Controller) Release(t *Ticket) {
	if t.flow == nil || t.item.State() != fairqueue.Executing {
		return
	}
	now := c.now()
	t.flow.execution(t.Request.Verb).Observe((now - t.item.Started).Seconds())
	t.flow.level.finish(t, now)
}

// Watching counts a watch that has been admitted, until the returned function is called.
func (c *Controller) Watching(t *Ticket) (forget func()) { return c.watches.add(&t.Request) }

// RetryAfter counts a rejection and returns after how many seconds the client should come again.
func (c *Controller) RetryAfter(t *Ticket) int64 { return t.flow.level.reject(time.Now().Unix()) }

// SetHeaders tells the client how it was classified, by UIDs: names may say more than a client should know.
func (t *Ticket) SetHeaders(h http.Header) {
	h["X-Kubernetes-Pf-Flowschema-Uid"] = t.flow.uid
	h["X-Kubernetes-Pf-Prioritylevel-Uid"] = t.flow.levelUID
}

// hash identifies the request's flow. The seed is this process's own: nobody can choose a name that meets
// somebody else's queues.
func (c *Controller) hash(f *flow, r *Request) uint64 {
	if f.level.exempt {
		return 0
	}
	var h maphash.Hash
	h.SetSeed(c.seed)
	_, _ = h.WriteString(f.schema.Name)
	_ = h.WriteByte(0)
	_, _ = h.WriteString(distinguisher(f.schema, r))
	return h.Sum64()
}

func distinguisher(s *flowcontrolv1.FlowSchema, r *Request) string {
	switch m := s.Spec.DistinguisherMethod; {
	case m == nil:
		return ""
	case m.Type == flowcontrolv1.FlowDistinguisherMethodByUserType:
		return r.User.GetName()
	default:
		return r.Namespace
	}
}
