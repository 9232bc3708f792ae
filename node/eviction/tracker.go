package eviction

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"clipper/node/eviction/threshold"
)

// An Observation is how much there is of something, and how much of that is free.
type Observation struct{ Available, Capacity resource.Quantity }

// Observations are what was measured at one time. A signal that could not be measured is missing.
type Observations map[threshold.Signal]Observation

// A tracker follows how long thresholds have been crossed and conditions have held. It has no clock and
// measures nothing.
type tracker struct {
	thresholds []threshold.Threshold
	transition time.Duration // how long a condition outlasts what caused it

	since    []time.Time // by threshold: crossed without a break since then; zero: not crossed
	starving []bool      // by threshold: pods had to go for it, and not enough has been reclaimed yet
	seen     map[corev1.NodeConditionType]time.Time
}

func newTracker(thresholds []threshold.Threshold, transition time.Duration) *tracker {
	return &tracker{thresholds: thresholds, transition: transition, since: make([]time.Time, len(thresholds)),
		starving: make([]bool, len(thresholds)), seen: map[corev1.NodeConditionType]time.Time{}}
}

// observe takes what was measured at now. starved are the thresholds for which pods have to go, those of
// memory first; conditions are what the node is short of.
func (t *tracker) observe(o Observations, now time.Time) (starved []threshold.Threshold, conditions []corev1.NodeConditionType) {
	for i, th := range t.thresholds {
		if !crossed(th, o, false) && !(t.starving[i] && crossed(th, o, true)) {
			t.since[i], t.starving[i] = time.Time{}, false
			continue
		}
		if t.since[i].IsZero() {
			t.since[i] = now
		}
		t.seen[th.Signal.Condition()] = now
		if t.starving[i] = now.Sub(t.since[i]) >= th.Grace; t.starving[i] {
			starved = append(starved, th)
		}
	}
	slices.SortStableFunc(starved, func(a, b threshold.Threshold) int { return order(a) - order(b) })
	return starved, t.conditions(now)
}

// order puts memory first: it runs out fastest.
func order(t threshold.Threshold) int {
	if t.Signal.Resource() == corev1.ResourceMemory {
		return 0
	}
	return 1
}

// conditions returns what has held within the transition period.
func (t *tracker) conditions(now time.Time) []corev1.NodeConditionType {
	var out []corev1.NodeConditionType
	for c, at := range t.seen {
		if now.Sub(at) < t.transition || at.Equal(now) {
			out = append(out, c)
		}
	}
	slices.Sort(out)
	return out
}

// crossed reports whether less is available than the threshold asks for, with what has to be reclaimed on
// top if enough says so. What was not measured is not crossed.
func crossed(t threshold.Threshold, o Observations, enough bool) bool {
	ob, ok := o[t.Signal]
	if !ok {
		return false
	}
	want := t.Value.Of(ob.Capacity)
	if enough {
		want.Add(t.MinReclaim.Of(ob.Capacity))
	}
	return ob.Available.Cmp(want) < 0
}

// relieved reports whether no threshold is crossed any more, with what has to be reclaimed on top.
func (t *tracker) relieved(o Observations) bool {
	return !slices.ContainsFunc(t.thresholds, func(th threshold.Threshold) bool { return crossed(th, o, true) })
}
