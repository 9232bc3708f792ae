package horizontalpodautoscaler

import (
	"math"
	"slices"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

const (
	// downWindow is how long a recommendation counts against scaling down below it, unless the behavior says.
	downWindow = 5 * time.Minute
	// longest is the longest time that a behavior may look back.
	longest = time.Hour
)

// A history is what was recommended and done for one autoscaler. It is lost with the process, as upstream's is.
type history struct {
	recommended []event
	ups, downs  []event
}

// An event is a number at a time: replicas recommended, or how many were added or removed.
type event struct {
	at time.Time
	n  int32
}

func (h *history) forget(now time.Time) {
	old := func(e event) bool { return now.Sub(e.at) > longest }
	h.recommended, h.ups, h.downs = slices.DeleteFunc(h.recommended, old), slices.DeleteFunc(h.ups, old), slices.DeleteFunc(h.downs, old)
}

// scaled notes a change of the number of replicas.
func (h *history) scaled(from, to int32, now time.Time) {
	if to > from {
		h.ups = append(h.ups, event{now, to - from})
	} else {
		h.downs = append(h.downs, event{now, from - to})
	}
}

// A bound is what limits a recommendation.
type bound struct {
	current, min, max int32
	behavior          *autoscalingv2.HorizontalPodAutoscalerBehavior // nil: none is asked for
}

// A note is a condition's reason and message.
type note struct{ reason, message string }

// stabilize keeps a recommendation from following every swing of the load, and notes it.
func (h *history) stabilize(desired int32, b bound, now time.Time) (int32, note) {
	defer func() { h.recommended = append(h.recommended, event{now, desired}) }()
	low, high := desired, desired
	up, down := time.Duration(0), downWindow
	if b.behavior != nil {
		up, down = window(b.behavior.ScaleUp, 0), window(b.behavior.ScaleDown, downWindow)
	}
	for _, r := range h.recommended {
		if now.Sub(r.at) < up {
			low = min(low, r.n)
		}
		if now.Sub(r.at) < down {
			high = max(high, r.n)
		}
	}
	stable := high
	if b.behavior != nil {
		stable = min(max(b.current, low), high)
	}
	switch {
	case stable == desired:
		return stable, note{"ReadyForNewScale", "recommended size matches current size"}
	case b.behavior != nil && desired >= b.current:
		return stable, note{"ScaleUpStabilized", "recent recommendations were lower than current one, applying the lowest recent recommendation"}
	}
	return stable, note{"ScaleDownStabilized", "recent recommendations were higher than current one, applying the highest recent recommendation"}
}

func window(rules *autoscalingv2.HPAScalingRules, otherwise time.Duration) time.Duration {
	if rules == nil || rules.StabilizationWindowSeconds == nil {
		return otherwise
	}
	return time.Duration(*rules.StabilizationWindowSeconds) * time.Second
}

// limit keeps a recommendation within what the autoscaler and its policies allow, and notes which of them it met.
func (h *history) limit(desired int32, b bound, now time.Time) (int32, note) {
	fine := note{"DesiredWithinRange", "the desired count is within the acceptable range"}
	most, high := b.max, note{"TooManyReplicas", "the desired replica count is more than the maximum replica count"}
	if fast := max(h.upLimit(b, now), 0); fast < most {
		most, high = fast, note{"ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate"}
	}
	least, low := b.min, note{"TooFewReplicas", "the desired replica count is less than the minimum replica count"}
	if fast := h.downLimit(b, now); fast > least {
		least, low = fast, note{"ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate"}
	}
	switch {
	case desired < least && (b.behavior == nil || desired < b.current):
		return least, low
	case desired > most && (b.behavior == nil || desired > b.current):
		return most, high
	}
	return desired, fine
}

// upLimit is how many replicas there may be now. Without policies: twice as many, and four at least.
func (h *history) upLimit(b bound, now time.Time) int32 {
	if b.behavior == nil {
		return max(2*b.current, 4)
	}
	return max(h.policies(b.behavior.ScaleUp, b.current, now, func(start, value float64, percent bool) float64 {
		if percent {
			return math.Ceil(start * (1 + value/100))
		}
		return start + value
	}, true), b.current)
}

// downLimit is how few there may be now. Without policies there is no limit.
func (h *history) downLimit(b bound, now time.Time) int32 {
	if b.behavior == nil {
		return math.MinInt32
	}
	return min(h.policies(b.behavior.ScaleDown, b.current, now, func(start, value float64, percent bool) float64 {
		if percent {
			return math.Trunc(start * (1 - value/100))
		}
		return start - value
	}, false), b.current)
}

// policies returns what the policies of one direction allow: the one that allows most decides, unless the rules
// prefer the least. change applies a policy to the replicas that there were when its period began.
func (h *history) policies(rules *autoscalingv2.HPAScalingRules, current int32, now time.Time, change func(start, value float64, percent bool) float64, up bool) int32 {
	if rules == nil || rules.SelectPolicy != nil && *rules.SelectPolicy == autoscalingv2.DisabledPolicySelect {
		return current
	}
	cautious := rules.SelectPolicy != nil && *rules.SelectPolicy == autoscalingv2.MinChangePolicySelect
	var result int32
	for i, p := range rules.Policies {
		period := time.Duration(p.PeriodSeconds) * time.Second
		start := current - since(h.ups, now, period) + since(h.downs, now, period)
		allowed := int32(min(change(float64(start), float64(p.Value), p.Type == autoscalingv2.PercentScalingPolicy), math.MaxInt32))
		switch {
		case i == 0:
			result = allowed
		case up != cautious:
			result = max(result, allowed)
		default:
			result = min(result, allowed)
		}
	}
	return result
}

// since adds up the events of the last period.
func since(events []event, now time.Time, period time.Duration) (sum int32) {
	for _, e := range events {
		if now.Sub(e.at) < period {
			sum += e.n
		}
	}
	return sum
}
