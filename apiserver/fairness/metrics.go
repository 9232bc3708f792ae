package fairness

import (
	"maps"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"clipper/apiserver/fairness/fairqueue"
)

// metrics are the histograms that requests write into. Everything else is read off when somebody asks.
type metrics struct {
	waiting, execution, length, seats, watchers *prometheus.HistogramVec
}

const prefix = "apiserver_flowcontrol_"

func newMetrics() *metrics {
	durations := []float64{0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: prefix + name, Help: help, Buckets: buckets},
			append([]string{"priority_level", "flow_schema"}, labels...))
	}
	return &metrics{
		waiting: histogram("request_wait_duration_seconds", "Length of time a request spent waiting in its queue", durations, "execute"),
		execution: histogram("request_execution_seconds",
			"Duration of initial stage (for a WATCH) or any (for a non-WATCH) stage of request execution in the API Priority and Fairness subsystem", durations, "type"),
		length: histogram("request_queue_length_after_enqueue",
			"Length of queue in the API Priority and Fairness subsystem, as seen by each request after it is enqueued", []float64{0, 10, 25, 50, 100, 250, 500, 1000}),
		seats: histogram("work_estimated_seats",
			"Number of estimated seats (maximum of initial and final seats) associated with requests in API Priority and Fairness", []float64{1, 2, 4, 8, 16, 32, 64, 100}),
		watchers: histogram("watch_count_samples", "count of watchers for mutating requests in API Priority and Fairness", []float64{0, 1, 10, 100, 1000, 10000}),
	}
}

// An observer makes its series when it is first used: what never happened is not shown.
type observer struct {
	vec    *prometheus.HistogramVec
	labels []string
	made   atomic.Pointer[prometheus.Observer]
}

func (o *observer) get() prometheus.Observer {
	if p := o.made.Load(); p != nil {
		return *p
	}
	made := o.vec.WithLabelValues(o.labels...)
	o.made.Store(&made)
	return made
}

type flowKey struct{ level, schema string }

// flowStats is what happened to the requests of a schema at a level.
type flowStats struct {
	flowKey
	seats, length, watchers observer
	admitted, refused       observer // how long they waited
	regular, watch          observer // how long they ran

	dispatched, full, noSeat, timedOut atomic.Int64
	waiting, waitingSeats              atomic.Int64
	executing, executingSeats          atomic.Int64
}

func (c *Controller) stats(level, schema string) *flowStats {
	key := flowKey{level, schema}
	if s, ok := c.flows.Load(key); ok {
		return s.(*flowStats)
	}
	m := c.metrics
	observe := func(vec *prometheus.HistogramVec, more ...string) observer {
		return observer{vec: vec, labels: append([]string{level, schema}, more...)}
	}
	s, _ := c.flows.LoadOrStore(key, &flowStats{
		flowKey: key,
		seats:   observe(m.seats), length: observe(m.length), watchers: observe(m.watchers),
		admitted: observe(m.waiting, "true"), refused: observe(m.waiting, "false"),
		regular: observe(m.execution, "regular"), watch: observe(m.execution, "watch"),
	})
	return s.(*flowStats)
}

func (s *flowStats) waited(admitted bool) prometheus.Observer {
	if admitted {
		return s.admitted.get()
	}
	return s.refused.get()
}

func (s *flowStats) execution(verb string) prometheus.Observer {
	if verb == "watch" {
		return s.watch.get()
	}
	return s.regular.get()
}

func (s *flowStats) admit(it *fairqueue.Item) {
	s.dispatched.Add(1)
	s.executing.Add(1)
	s.executingSeats.Add(int64(it.Work.Width()))
}

func (s *flowStats) queue(it *fairqueue.Item, by int64) {
	s.waiting.Add(by)
	s.waitingSeats.Add(by * int64(it.Work.Width()))
}

// A figure is one metric that is read off.
type figure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func (f figure) send(out chan<- prometheus.Metric, value float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(f.desc, f.kind, value, labels...)
}

func newFigure(kind prometheus.ValueType, name, help string, labels ...string) figure {
	return figure{prometheus.NewDesc(prefix+name, help, labels, nil), kind}
}

func levelGauge(name, help string) figure {
	return newFigure(prometheus.GaugeValue, name, help, "priority_level")
}

func flowGauge(name, help string) figure {
	return newFigure(prometheus.GaugeValue, name, help, "priority_level", "flow_schema")
}

var (
	dispatchedTotal = newFigure(prometheus.CounterValue, "dispatched_requests_total", "Number of requests executed by API Priority and Fairness subsystem", "priority_level", "flow_schema")
	rejectedTotal   = newFigure(prometheus.CounterValue, "rejected_requests_total", "Number of requests rejected by API Priority and Fairness subsystem", "priority_level", "flow_schema", "reason")
	queuedRequests  = flowGauge("current_inqueue_requests", "Number of requests currently pending in queues of the API Priority and Fairness subsystem")
	queuedSeats     = flowGauge("current_inqueue_seats", "Number of seats currently pending in queues of the API Priority and Fairness subsystem")
	servedRequests  = flowGauge("current_executing_requests", "Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage in the API Priority and Fairness subsystem")
	servedSeats     = flowGauge("current_executing_seats", "Concurrency (number of seats) occupied by the currently executing (initial stage for a WATCH, any stage otherwise) requests in the API Priority and Fairness subsystem")

	usedConcurrency = flowGauge("request_concurrency_in_use", "Concurrency (number of seats) occupied by the currently executing (initial stage for a WATCH, any stage otherwise) requests in the API Priority and Fairness subsystem") // servedSeats' old name
	concurrency     = levelGauge("request_concurrency_limit", "Nominal number of execution seats configured for each priority level")                                                                                                   // nominalSeats'

	nominalSeats   = levelGauge("nominal_limit_seats", "Nominal number of execution seats configured for each priority level")
	lowerSeats     = levelGauge("lower_limit_seats", "Configured lower bound on number of execution seats available to each priority level")
	upperSeats     = levelGauge("upper_limit_seats", "Configured upper bound on number of execution seats available to each priority level")
	currentSeats   = levelGauge("current_limit_seats", "current derived number of execution seats available to each priority level")
	highDemand     = levelGauge("demand_seats_high_watermark", "High watermark, over last adjustment period, of demand_seats")
	averageDemand  = levelGauge("demand_seats_average", "Time-weighted average, over last adjustment period, of demand_seats")
	deviation      = levelGauge("demand_seats_stdev", "Time-weighted standard deviation, over last adjustment period, of demand_seats")
	smoothedDemand = levelGauge("demand_seats_smoothed", "Smoothed seat demands")
	targetSeats    = levelGauge("target_seats", "Seat allocation targets")
	currentMeter   = levelGauge("current_r", "R(time of last change)")
	fairFraction   = newFigure(prometheus.GaugeValue, "seat_fair_frac", "Fair fraction of server's concurrency to allocate to each priority level that can use it")

	demandTimes  = prometheus.NewDesc(prefix+"demand_seats", "Observations, at the end of every nanosecond, of (the number of seats each priority level could use) / (nominal number of seats for that level)", []string{"priority_level"}, nil)
	seatTimes    = prometheus.NewDesc(prefix+"priority_level_seat_utilization", "Observations, at the end of every nanosecond, of utilization of seats for any stage of execution (but only initial stage for WATCHes)", []string{"priority_level"}, prometheus.Labels{"phase": "executing"})
	requestTimes = prometheus.NewDesc(prefix+"priority_level_request_utilization", "Observations, at the end of every nanosecond, of number of requests (as a fraction of the relevant limit) waiting or in any stage of execution (but only initial stage for WATCHes)", []string{"phase", "priority_level"}, nil)
)

// Describe implements prometheus.Collector: the metrics are too many and too various to be announced.
func (c *Controller) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *Controller) Collect(out chan<- prometheus.Metric) {
	for _, vec := range []*prometheus.HistogramVec{c.metrics.waiting, c.metrics.execution, c.metrics.length, c.metrics.seats, c.metrics.watchers} {
		vec.Collect(out)
	}
	c.flows.Range(func(_, s any) bool {
		s.(*flowStats).collect(out)
		return true
	})
	c.mu.Lock()
	levels, factor := maps.Clone(c.current.Load().levels), c.factor
	for _, l := range levels {
		l.collect(out)
	}
	c.mu.Unlock()
	fairFraction.send(out, factor)
}

func (s *flowStats) collect(out chan<- prometheus.Metric) {
	if n := s.dispatched.Load(); n > 0 {
		dispatchedTotal.send(out, float64(n), s.level, s.schema)
		servedRequests.send(out, float64(s.executing.Load()), s.level, s.schema)
		servedSeats.send(out, float64(s.executingSeats.Load()), s.level, s.schema)
		usedConcurrency.send(out, float64(s.executingSeats.Load()), s.level, s.schema)
		queuedRequests.send(out, float64(s.waiting.Load()), s.level, s.schema)
		queuedSeats.send(out, float64(s.waitingSeats.Load()), s.level, s.schema)
	}
	for reason, n := range map[string]int64{"queue-full": s.full.Load(), "concurrency-limit": s.noSeat.Load(), "time-out": s.timedOut.Load()} {
		if n > 0 {
			rejectedTotal.send(out, float64(n), s.level, s.schema, reason)
		}
	}
}

// collect needs Controller.mu.
func (l *level) collect(out chan<- prometheus.Metric) {
	l.mu.Lock()
	l.set.Advance(l.now())
	series, meter := l.set.Series, l.set.Meter()
	l.settleLocked()
	l.mu.Unlock()
	for _, f := range []struct {
		figure
		value float64
	}{
		{nominalSeats, float64(l.demand.nominal)}, {concurrency, float64(l.demand.nominal)}, {lowerSeats, float64(l.demand.lower)}, {upperSeats, float64(l.demand.upper)},
		{currentSeats, float64(l.current)}, {highDemand, float64(l.demand.high)}, {averageDemand, l.last.average},
		{deviation, l.last.deviation}, {smoothedDemand, l.demand.smoothed}, {targetSeats, l.demand.target()}, {currentMeter, meter.Seconds()},
	} {
		f.send(out, f.value, l.name)
	}
	out <- times(demandTimes, &series.Demand, fairqueue.DemandBounds, l.name)
	out <- times(seatTimes, &series.Seats, fairqueue.SeatsBounds, l.name)
	out <- times(requestTimes, &series.Waiting, fairqueue.RequestBounds, "waiting", l.name)
	out <- times(requestTimes, &series.Executing, fairqueue.RequestBounds, "executing", l.name)
}

// times shows durations as a histogram with one observation for each nanosecond.
func times(desc *prometheus.Desc, d *fairqueue.Durations, bounds []float64, labels ...string) prometheus.Metric {
	buckets, count := map[float64]uint64{}, uint64(0)
	for i, bound := range bounds {
		count += uint64(d.In[i])
		buckets[bound] = count
	}
	count += uint64(d.In[len(bounds)])
	return prometheus.MustNewConstHistogram(desc, count, d.Sum, buckets, labels...)
}
