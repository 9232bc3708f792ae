package fairqueue

import (
	"math"
	"time"
)

// Series records how a set is used over time: how long each utilization lasted, and the demand for seats
// since the last Reset.
type Series struct {
	Demand    Durations // seats that could be used, relative to the limit
	Seats     Durations // in use, relative to the limit
	Waiting   Durations // requests, relative to the room for them
	Executing Durations // requests, relative to the limit

	demand Integral
	room   float64
	limit  float64
}

// Bounds of the buckets. Upstream's.
var (
	DemandBounds  = []float64{0.2, 0.4, 0.6, 0.8, 1, 1.2, 1.4, 1.7, 2, 2.8, 4, 6}
	SeatsBounds   = []float64{0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1}
	RequestBounds = []float64{0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 1}
)

func (r *Series) limits(room, limit int) {
	r.room, r.limit = float64(room), float64(max(1, limit))
}

// note takes over the present state of s.
func (r *Series) note(s *Set) {
	demand := float64(s.seatsInUse + s.seatsWaiting)
	r.demand.set(demand)
	r.Demand.Set(demand/r.limit, DemandBounds)
	r.Seats.Set(float64(s.seatsInUse)/r.limit, SeatsBounds)
	r.Waiting.Set(float64(s.waiting)/r.room, RequestBounds)
	r.Executing.Set(float64(s.executing.len)/r.limit, RequestBounds)
}

func (r *Series) pass(d time.Duration) {
	r.demand.pass(d)
	r.Demand.Pass(d)
	r.Seats.Pass(d)
	r.Waiting.Pass(d)
	r.Executing.Pass(d)
}

// Reset returns the demand since the last Reset and begins anew.
func (r *Series) Reset() Integral {
	out := r.demand
	r.demand = Integral{value: out.value, High: out.value}
	return out
}

// maxBounds is the greatest number of bounds that Durations has room for.
const maxBounds = 16

// Durations says how long a value has been in which bucket.
type Durations struct {
	In    [maxBounds + 1]time.Duration // the last one used is for values above all bounds
	Sum   float64                      // of value times nanoseconds
	value float64
	now   int // bucket of value
}

// Set gives the value that holds from now on.
func (d *Durations) Set(value float64, bounds []float64) {
	if value == d.value {
		return
	}
	d.value, d.now = value, len(bounds)
	for i, bound := range bounds {
		if value <= bound {
			d.now = i
			return
		}
	}
}

// Pass lets time go by.
func (d *Durations) Pass(by time.Duration) {
	d.In[d.now] += by
	d.Sum += d.value * float64(by)
}

// An Integral sums a value and its square over time.
type Integral struct {
	Elapsed time.Duration
	High    float64 // the greatest value
	value   float64
	sum     float64
	squares float64
}

func (i *Integral) set(value float64) {
	i.value = value
	i.High = max(i.High, value)
}

func (i *Integral) pass(d time.Duration) {
	i.Elapsed += d
	i.sum += i.value * d.Seconds()
	i.squares += i.value * i.value * d.Seconds()
}

// Mean returns the average over time and the standard deviation.
func (i Integral) Mean() (average, deviation float64) {
	t := i.Elapsed.Seconds()
	if t <= 0 {
		return 0, 0
	}
	average = i.sum / t
	return average, math.Sqrt(max(0, i.squares/t-average*average))
}
