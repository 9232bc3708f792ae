package fairness

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/apiserver/fairness/fairqueue"
)

// Handlers answer the paths where people look at what the controller does.
func (c *Controller) Handlers() map[string]http.Handler {
	const root = "/debug/api_priority_and_fairness/"
	return map[string]http.Handler{
		root + "dump_priority_levels": c.dump(dumpLevel, "PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests",
			"ExecutingRequests", "DispatchedRequests", "RejectedRequests", "TimedoutRequests", "CancelledRequests"),
		root + "dump_queues": c.dump(dumpQueues, "PriorityLevelName", "Index", "PendingRequests", "ExecutingRequests", "SeatsInUse",
			"NextDispatchR", "InitialSeatsSum", "MaxSeatsSum", "TotalWorkSum"),
		root + "dump_requests": c.dump(c.dumpRequests, "PriorityLevelName", "FlowSchemaName", "QueueIndex", "RequestIndexInQueue", "FlowDistingsher",
			"ArriveTime", "InitialSeats", "FinalSeats", "AdditionalLatency", "StartTime"),
	}
}

const detailHeaders = ",\tUserName,\tVerb,\tAPIPath,\tNamespace,\tName,\tAPIVersion,\tResource,\tSubResource"

// A table writes rows; details asks for more columns.
type table struct {
	io.Writer
	details bool
}

func (t table) row(cells ...string) { fmt.Fprintln(t, strings.Join(cells, ",\t")) }

// dump writes a table with what fn has to say about each level, as text.
func (c *Controller) dump(fn func(t table, l *level, p fairqueue.Picture), headers ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tabs := tabwriter.NewWriter(w, 8, 0, 1, ' ', 0)
		t := table{tabs, r.URL.Query().Get("includeRequestDetails") != ""}
		head := strings.Join(headers, ",\t")
		if strings.HasSuffix(r.URL.Path, "requests") && t.details {
			head += detailHeaders
		}
		t.row(head)
		c.mu.Lock()
		levels := c.current.Load().levels
		for _, name := range slices.Sorted(maps.Keys(levels)) {
			l := levels[name]
			l.mu.Lock()
			fn(t, l, l.set.Picture())
			l.mu.Unlock()
		}
		c.mu.Unlock()
		_ = tabs.Flush() // the client may be gone
	})
}

func dumpLevel(t table, l *level, p fairqueue.Picture) {
	active := 0
	for _, q := range p.Queues {
		if len(q.Waiting) > 0 {
			active++
		}
	}
	t.row(l.name, strconv.Itoa(active), strconv.FormatBool(l.set.Idle()), strconv.FormatBool(l.gone), strconv.Itoa(p.Waiting),
		strconv.Itoa(p.Executing), strconv.Itoa(l.dispatched), strconv.Itoa(l.rejected), "0", strconv.Itoa(l.cancelled))
}

func dumpQueues(t table, l *level, p fairqueue.Picture) {
	for i, q := range p.Queues {
		t.row(l.name, strconv.Itoa(i), strconv.Itoa(len(q.Waiting)), strconv.Itoa(q.Executing), strconv.Itoa(q.SeatsInUse),
			q.Next.String(), strconv.Itoa(q.InitialSeats), strconv.Itoa(q.Width), q.Work.String())
	}
}

func (c *Controller) dumpRequests(t table, l *level, p fairqueue.Picture) {
	for i, q := range p.Queues {
		for at, it := range q.Waiting {
			c.dumpRequest(t, l, it, i, at)
		}
	}
	for _, it := range p.Served {
		c.dumpRequest(t, l, it, it.Queue(), -1)
	}
}

func (c *Controller) dumpRequest(t table, l *level, it *fairqueue.Item, queue, at int) {
	ticket := it.Owner.(*Ticket)
	r := &ticket.Request
	started := time.Time{}
	if it.State() == fairqueue.Executing {
		started = c.start.Add(it.Started)
	}
	flow := ""
	if !l.exempt {
		flow = distinguisher(ticket.flow.schema, r)
	}
	cells := []string{l.name, ticket.flow.schema.Name, strconv.Itoa(queue), strconv.Itoa(at), flow,
		c.start.Add(it.Arrived).UTC().Format(time.RFC3339Nano), strconv.Itoa(it.Work.Seats), strconv.Itoa(it.Work.FinalSeats),
		it.Work.FinalTime.String(), started.UTC().Format(time.RFC3339Nano)}
	if t.details {
		cells = append(cells, r.User.GetName(), r.Verb, r.Path, r.Namespace, r.Name,
			schema.GroupVersion{Group: r.Group, Version: r.Version}.String(), r.Resource, r.Subresource)
	}
	t.row(cells...)
}
