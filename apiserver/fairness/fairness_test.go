package fairness

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/utils/ptr"

	"clipper/api"
	"clipper/apiserver/inprocess/inprocesstest"
)

// configured returns a controller with upstream's default objects and these.
func configured(seats int, more ...any) *Controller {
	c := New(Config{Seats: seats, Objects: func(string, string, string) (int, int) { return 0, 0 }})
	schemas := append(bootstrap.SuggestedFlowSchemas[:len(bootstrap.SuggestedFlowSchemas):len(bootstrap.SuggestedFlowSchemas)], bootstrap.MandatoryFlowSchemas...)
	levels := append(bootstrap.SuggestedPriorityLevelConfigurations[:len(bootstrap.SuggestedPriorityLevelConfigurations):len(bootstrap.SuggestedPriorityLevelConfigurations)], bootstrap.MandatoryPriorityLevelConfigurations...)
	for _, o := range more {
		switch o := o.(type) {
		case *flowcontrolv1.FlowSchema:
			schemas = append(schemas, o)
		case *flowcontrolv1.PriorityLevelConfiguration:
			levels = append(levels, o)
		}
	}
	c.digest(schemas, levels)
	return c
}

func as(name string, groups ...string) user.Info {
	return &user.DefaultInfo{Name: name, Groups: append(groups, user.AllAuthenticated)}
}

func resource(u user.Info, verb, group, name, namespace string) Request {
	return Request{User: u, IsResource: true, Verb: verb, Group: group, Resource: name, Namespace: namespace}
}

func TestDefaultClassification(t *testing.T) {
	c := configured(600)
	node := as("system:node:a", "system:nodes")
	account := func(namespace, name string) user.Info {
		return as("system:serviceaccount:"+namespace+":"+name, "system:serviceaccounts", "system:serviceaccounts:"+namespace)
	}
	for _, x := range []struct {
		request       Request
		schema, level string
	}{
		{resource(as("root", "system:masters"), "list", "", "pods", ""), "exempt", "exempt"},
		{Request{User: as("anyone"), Verb: "get", Path: "/readyz"}, "probes", "exempt"},
		{Request{User: as("anyone"), Verb: "get", Path: "/readyz/ping"}, "probes", "exempt"},
		{Request{User: as("anyone"), Verb: "get", Path: "/readyzz"}, "global-default", "global-default"},
		{resource(as("system:kube-controller-manager"), "update", "coordination.k8s.io", "leases", "kube-system"), "system-leader-election", "leader-election"},
		{resource(account("kube-system", "endpoint-controller"), "get", "", "endpoints", "default"), "kube-system-service-accounts", "workload-high"},
		{resource(node, "update", "coordination.k8s.io", "leases", "kube-node-lease"), "system-node-high", "node-high"},
		{Request{User: node, IsResource: true, Verb: "patch", Resource: "nodes", Subresource: "status", Name: "a"}, "system-node-high", "node-high"},
		{resource(node, "list", "", "pods", ""), "system-nodes", "system"},
		{resource(as("system:kube-scheduler"), "list", "", "pods", ""), "kube-scheduler", "workload-high"},
		{resource(account("kube-system", "x"), "list", "", "pods", ""), "kube-system-service-accounts", "workload-high"},
		{resource(account("default", "x"), "list", "", "pods", "default"), "service-accounts", "workload-low"},
		{resource(as("alice"), "list", "", "pods", "default"), "global-default", "global-default"},
		{resource(&user.DefaultInfo{Name: "ghost"}, "list", "", "pods", "default"), "catch-all", "catch-all"},
	} {
		f := c.current.Load().match(&x.request)
		if f.schema.Name != x.schema || f.level.name != x.level {
			t.Errorf("%s %s %s%s by %s: %s at %s, want %s at %s", x.request.Verb, x.request.Group, x.request.Resource, x.request.Path,
				x.request.User.GetName(), f.schema.Name, f.level.name, x.schema, x.level)
		}
	}
}

// TestDefaultSeats are the figures of a v1.36 server with its default limits.
func TestDefaultSeats(t *testing.T) {
	c := configured(600)
	for name, want := range map[string][4]int{ // nominal, lower, upper, most per request
		"system": {74, 50, 674, 12}, "node-high": {98, 73, 698, 15}, "leader-election": {25, 25, 625, 4},
		"workload-high": {98, 49, 698, 15}, "workload-low": {245, 24, 845, 37}, "global-default": {49, 24, 649, 8},
		"catch-all": {13, 13, 613, 0}, "exempt": {0, 0, 600, 0},
	} {
		l := c.current.Load().levels[name]
		if got := [4]int{l.demand.nominal, l.demand.lower, l.demand.upper, int(l.maxSeats.Load())}; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestLimits(t *testing.T) {
	for _, x := range []struct {
		name   string
		levels []demand
		want   []int
	}{
		{"nobody wants anything: what cannot be lent is the measure", []demand{{nominal: 30, lower: 10, upper: 90}, {nominal: 60, lower: 60, upper: 90}}, []int{13, 77}},
		{"the idle lends to the busy", []demand{{nominal: 50, lower: 10, upper: 100}, {nominal: 50, lower: 50, upper: 100, high: 80, smoothed: 80}}, []int{11, 89}},
		{"nobody gets more than it may borrow", []demand{{nominal: 50, lower: 10, upper: 100}, {nominal: 50, lower: 50, upper: 60, high: 500, smoothed: 500}}, []int{40, 60}},
		{"both are busy: each has its own", []demand{{nominal: 50, lower: 10, upper: 100, high: 400, smoothed: 400}, {nominal: 50, lower: 10, upper: 100, high: 70, smoothed: 70}}, []int{50, 50}},
		{"the exempt take first", []demand{{exempt: true, high: 40}, {nominal: 50, lower: 10, upper: 100, high: 50, smoothed: 50}, {nominal: 50, lower: 30, upper: 100, high: 50, smoothed: 50}}, []int{40, 23, 37}},
		{"even when nothing is left", []demand{{exempt: true, high: 900}, {nominal: 50, lower: 10, upper: 100, high: 50, smoothed: 50}}, []int{900, 10}},
	} {
		t.Run(x.name, func(t *testing.T) {
			got, _, err := limits(x.levels)
			if err != nil || fmt.Sprint(got) != fmt.Sprint(x.want) {
				t.Errorf("%v, %v; want %v", got, err, x.want)
			}
		})
	}
}

func TestRetryGrowsAndShrinks(t *testing.T) {
	var b backoff
	var got []int64
	for second := range int64(40) {
		for range 100 {
			b.reject(second)
		}
		got = append(got, b.seconds())
	}
	if want := int64(32); got[len(got)-1] != want || got[0] != 1 {
		t.Errorf("overloaded for 40 seconds: %v", got)
	}
	for second := int64(100); second < 2000; second += 40 {
		b.reject(second)
	}
	if b.seconds() != 1 {
		t.Errorf("after a quiet while: %d", b.seconds())
	}
}

func TestWork(t *testing.T) {
	const pods, size = 1100, 2000
	c := New(Config{Seats: 600, Objects: func(_, _, name string) (int, int) {
		if name == "pods" {
			return pods, size
		}
		return 0, 0
	}})
	f := c.current.Load().catchAll
	list := resource(as("a"), "list", "", "pods", "")
	with := func(r Request, key, value string) Request {
		r.Query = map[string][]string{key: {value}}
		return r
	}
	watch := resource(as("a"), "watch", "", "pods", "")
	for _, x := range []struct {
		what string
		r    Request
		want int
	}{
		{"a large list", list, 22},
		{"a page", with(list, "limit", "100"), 2},
		{"nothing", resource(as("a"), "list", "", "secrets", ""), 1},
		{"a watch with initial state", watch, 22},
		{"a watch from a revision", with(watch, "resourceVersion", "17"), 1},
		{"a watch-list", with(watch, "sendInitialEvents", "true"), 22},
		{"get", resource(as("a"), "get", "", "pods", ""), 1},
	} {
		if got := c.work(&x.r, f); got.Width() != x.want {
			t.Errorf("%s: %d seats, want %d", x.what, got.Width(), x.want)
		}
	}
	create := resource(as("a"), "create", "", "pods", "default")
	var forget []func()
	for i := range 95 {
		r := watch
		if i%2 == 0 {
			r.Namespace = "default"
		}
		forget = append(forget, c.watches.add(&r))
	}
	other, node := with(watch, "", ""), with(watch, "fieldSelector", "spec.nodeName=x")
	other.Namespace = "other"
	forget = append(forget, c.watches.add(&other), c.watches.add(&node))
	if got := c.work(&create, f); got.FinalSeats != 10 || got.FinalTime != 5*time.Millisecond {
		t.Errorf("create with 95 watchers: %+v", got)
	}
	for _, fn := range forget {
		fn()
	}
	if got := c.work(&create, f); got.FinalSeats != 0 || len(c.watches.counts) != 0 {
		t.Errorf("create without watchers: %+v; left: %v", got, c.watches.counts)
	}
}

// limitedTo returns a level with a schema for user "busy" and "calm", by user.
func limitedTo(shares int32, response flowcontrolv1.LimitResponse) (*flowcontrolv1.FlowSchema, *flowcontrolv1.PriorityLevelConfiguration) {
	schema := bootstrap.SuggestedFlowSchemaGlobalDefault.DeepCopy()
	schema.Name, schema.UID, schema.Spec.MatchingPrecedence = "small", "schema-uid", 10
	schema.Spec.PriorityLevelConfiguration.Name = "small"
	level := &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "small", UID: "level-uid"}}
	level.Spec.Type = flowcontrolv1.PriorityLevelEnablementLimited
	level.Spec.Limited = &flowcontrolv1.LimitedPriorityLevelConfiguration{
		NominalConcurrencyShares: &shares, BorrowingLimitPercent: ptr.To(int32(0)), LimitResponse: response,
	}
	return schema, level
}

var queuing = flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeQueue,
	Queuing: &flowcontrolv1.QueuingConfiguration{Queues: 64, HandSize: 6, QueueLengthLimit: 20}}

// TestFloodDoesNotReachOthers: a client with a hundred requests under way all the time is rejected or waits;
// another one's requests, at the same level, run almost at once.
func TestFloodDoesNotReachOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		schema, level := limitedTo(5, queuing)
		c := configured(245+5, schema, level)
		const service = 20 * time.Millisecond
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		var flood sync.WaitGroup
		defer flood.Wait()
		defer cancel()
		for range 150 {
			flood.Go(func() {
				for ctx.Err() == nil {
					ticket := &Ticket{Request: resource(as("busy"), "list", "", "pods", "")}
					if c.Admit(ctx, ticket, 15*time.Second) {
						time.Sleep(service)
						c.Release(ticket)
					} else {
						c.RetryAfter(ticket)
						time.Sleep(10 * time.Millisecond)
					}
				}
			})
		}
		var worst time.Duration
		for range 300 {
			time.Sleep(7 * time.Millisecond)
			ticket := &Ticket{Request: resource(as("calm"), "get", "", "pods", "default")}
			if !c.Admit(ctx, ticket, 15*time.Second) {
				t.Fatal("a calm client was rejected")
			}
			worst = max(worst, ticket.Waited)
			time.Sleep(time.Millisecond)
			c.Release(ticket)
		}
		cancel()
		flood.Wait()
		if worst > 2*service {
			t.Errorf("a calm client waited for %v, longer than two requests of the other take", worst)
		}
		stats := c.stats("small", "small")
		if stats.full.Load() == 0 || stats.waiting.Load() != 0 {
			t.Errorf("%d rejected, %d waiting at the end", stats.full.Load(), stats.waiting.Load())
		}
	})
}

// TestWideRequestsLeaveRoom: a client that lists everything, many times at once, keeps no seat from another
// that asks for one.
func TestWideRequestsLeaveRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		schema, level := limitedTo(60, queuing)
		c := configured(245+60, schema, level)
		c.config.Objects = func(string, string, string) (int, int) { return 1000, 1000 } // as many seats as anybody may take
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		var flood sync.WaitGroup
		defer flood.Wait()
		defer cancel()
		var lists atomic.Int64
		for range 50 {
			flood.Go(func() {
				for ctx.Err() == nil {
					ticket := &Ticket{Request: resource(as("busy"), "list", "", "pods", "")}
					if c.Admit(ctx, ticket, 15*time.Second) {
						time.Sleep(time.Second)
						lists.Add(1)
						c.Release(ticket)
					}
				}
			})
		}
		for range 300 {
			time.Sleep(13 * time.Millisecond)
			ticket := &Ticket{Request: resource(as("calm"), "get", "", "pods", "default")}
			if !c.Admit(ctx, ticket, 15*time.Second) {
				t.Fatal("a calm client was rejected")
			}
			if ticket.Waited > 0 {
				t.Fatalf("a calm client waited for %v", ticket.Waited)
			}
			time.Sleep(time.Millisecond)
			c.Release(ticket)
		}
		cancel()
		flood.Wait()
		if n := lists.Load(); n < 20 {
			t.Errorf("only %d lists in four seconds: wide requests starve", n)
		}
	})
}

func TestWaitingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		schema, level := limitedTo(1, queuing)
		c := configured(1, schema, level)
		get := func() *Ticket { return &Ticket{Request: resource(as("a"), "get", "", "pods", "default")} }
		first := get()
		if !c.Admit(t.Context(), first, time.Second) {
			t.Fatal("the first was rejected")
		}
		second, start := get(), time.Now()
		if c.Admit(t.Context(), second, 3*time.Second) || time.Since(start) != 3*time.Second || second.Waited != 3*time.Second {
			t.Errorf("the second: waited %v (says %v)", time.Since(start), second.Waited)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if c.Admit(gone, get(), time.Hour) {
			t.Error("a client that is gone was let in")
		}
		c.Release(first)
		c.Release(first) // does no harm
		if third := get(); !c.Admit(t.Context(), third, 0) {
			t.Error("the third found no seat")
		}
	})
}

func TestRejectWithoutQueues(t *testing.T) {
	schema, level := limitedTo(1, flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeReject})
	c := configured(1, schema, level)
	first, second := &Ticket{Request: resource(as("a"), "get", "", "pods", "")}, &Ticket{Request: resource(as("b"), "get", "", "pods", "")}
	if !c.Admit(t.Context(), first, time.Hour) || c.Admit(t.Context(), second, time.Hour) {
		t.Fatal("want one of two")
	}
	h := http.Header{}
	second.SetHeaders(h)
	if h.Get(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID) != "schema-uid" || h.Get(flowcontrolv1.ResponseHeaderMatchedPriorityLevelConfigurationUID) != "level-uid" {
		t.Errorf("headers: %v", h)
	}
	text := dumped(t, c, "dump_requests?includeRequestDetails=1")
	if !strings.Contains(text, "small,") || !strings.Contains(text, "UserName") || !strings.Contains(text, "get,") {
		t.Errorf("requests:\n%s", text)
	}
	if text := dumped(t, c, "dump_priority_levels"); strings.Count(text, "\n") != 10 || !strings.HasPrefix(text, "PriorityLevelName, ActiveQueues,") {
		t.Errorf("levels:\n%s", text)
	}
}

func dumped(t *testing.T, c *Controller, what string) string {
	path := "/debug/api_priority_and_fairness/" + what
	w := httptest.NewRecorder()
	name, _, _ := strings.Cut(path, "?")
	c.Handlers()[name].ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Body.String()
}

// TestLevelDrains: a level that is deleted keeps its requests until they are done.
func TestLevelDrains(t *testing.T) {
	schema, level := limitedTo(1, queuing)
	c := configured(10, schema, level)
	ticket := &Ticket{Request: resource(as("a"), "get", "", "pods", "")}
	if !c.Admit(t.Context(), ticket, 0) {
		t.Fatal("rejected")
	}
	c.digest([]*flowcontrolv1.FlowSchema{schema}, nil)
	if l := c.current.Load().levels["small"]; l == nil || !l.gone {
		t.Fatal("the level is gone while a request is in it")
	}
	next := &Ticket{Request: ticket.Request}
	if !c.Admit(t.Context(), next, 0) || next.flow.schema.Name != "catch-all" {
		t.Errorf("the next request went to %s", next.flow.schema.Name)
	}
	c.Release(ticket)
	if !c.rebalance() {
		t.Error("nobody noticed that the level has drained")
	}
	c.digest(nil, nil)
	if c.current.Load().levels["small"] != nil {
		t.Error("the level is still there")
	}
}

// TestRun: the objects of every cluster are made, kept, and their status says what became of them.
func TestRun(t *testing.T) {
	client := inprocesstest.New(t)
	c := New(Config{Client: client, Seats: 600})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	dangling := func(name string) string {
		s, ok := api.FlowSchemas.View(client).Get("", name)
		if !ok {
			return "absent"
		}
		for _, condition := range s.Status.Conditions {
			return string(condition.Type) + "=" + string(condition.Status) + " " + condition.Reason
		}
		return "unset"
	}
	await(t, "global-default is not dangling", func() bool { return dangling("global-default") == "Dangling=False Found" })
	schema, level := limitedTo(1, queuing)
	for _, o := range []*metav1.ObjectMeta{&schema.ObjectMeta, &level.ObjectMeta} {
		o.UID, o.ResourceVersion, o.Annotations = "", "", nil
	}
	if _, err := api.FlowSchemas.Create(ctx, client, schema); err != nil {
		t.Fatal(err)
	}
	await(t, "small is dangling", func() bool { return dangling("small") == "Dangling=True NotFound" })
	if _, err := api.PriorityLevelConfigurations.Create(ctx, client, level); err != nil {
		t.Fatal(err)
	}
	await(t, "small is not dangling", func() bool { return dangling("small") == "Dangling=False Found" })
	kept(t, c)
	families, err := prometheusFamilies(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"nominal_limit_seats", "demand_seats", "priority_level_request_utilization"} {
		if !families[prefix+name] {
			t.Errorf("no metric %s", name)
		}
	}
}

// kept: a mandatory object comes back, a suggested one that somebody took over is left alone, one that is
// no longer suggested goes, and with nothing to do nothing is written.
func kept(t *testing.T, c *Controller) {
	t.Helper()
	ctx, client := t.Context(), c.config.Client
	if err := api.FlowSchemas.Delete(ctx, client, "", "exempt", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	old := bootstrap.SuggestedFlowSchemaProbes.DeepCopy()
	old.Name = "long-forgotten"
	if _, err := api.FlowSchemas.Create(ctx, client, old); err != nil {
		t.Fatal(err)
	}
	taken := func(s *flowcontrolv1.FlowSchema) (bool, error) {
		s.Annotations[flowcontrolv1.AutoUpdateAnnotationKey] = "false"
		s.Spec.MatchingPrecedence = 77
		return true, nil
	}
	if _, err := api.FlowSchemas.Mutate(ctx, client, "", "probes", "", taken); err != nil {
		t.Fatal(err)
	}
	changed := func(s *flowcontrolv1.FlowSchema) (bool, error) { s.Spec.MatchingPrecedence = 78; return true, nil }
	if _, err := api.FlowSchemas.Mutate(ctx, client, "", "service-accounts", "", changed); err != nil {
		t.Fatal(err)
	}
	c.keep(ctx)
	for name, want := range map[string]int32{"exempt": 1, "probes": 77, "service-accounts": 9000, "long-forgotten": 0} {
		s, ok := api.FlowSchemas.View(client).Get("", name)
		if got := int32(0); ok && s.Spec.MatchingPrecedence != want || !ok && want != got {
			t.Errorf("%s: %v %v, want precedence %d", name, ok, s, want)
		}
	}
	before, _ := api.FlowSchemas.View(client).Get("", "exempt")
	c.keep(ctx)
	if after, _ := api.FlowSchemas.View(client).Get("", "exempt"); after.Spec.MatchingPrecedence != before.Spec.MatchingPrecedence || after.Generation != before.Generation {
		t.Errorf("exempt was written again: %v", after)
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not yet: %s", what)
		}
	}
}

func prometheusFamilies(c prometheus.Collector) (map[string]bool, error) {
	registry := prometheus.NewRegistry()
	if err := registry.Register(c); err != nil {
		return nil, err
	}
	families, err := registry.Gather()
	names := map[string]bool{}
	for _, f := range families {
		names[f.GetName()] = true
	}
	return names, err
}

func BenchmarkAdmit(b *testing.B) {
	c := configured(600)
	for _, x := range []struct {
		name    string
		request Request
	}{
		{"exempt", resource(as("root", "system:masters"), "get", "", "pods", "default")},
		{"default", resource(as("alice"), "get", "", "pods", "default")},
		{"create", resource(as("system:serviceaccount:default:x", "system:serviceaccounts"), "create", "", "pods", "default")},
	} {
		b.Run(x.name, func(b *testing.B) {
			b.ReportAllocs()
			var ticket Ticket
			for b.Loop() {
				ticket = Ticket{Request: x.request}
				if !c.Admit(context.Background(), &ticket, time.Second) {
					b.Fatal("rejected")
				}
				c.Release(&ticket)
			}
		})
	}
}
