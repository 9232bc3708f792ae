package threshold

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// A Value is an amount, or a share of what there is. The zero Value is nothing.
type Value struct {
	Quantity *resource.Quantity
	Share    float32 // 0.1 for 10%; if Quantity is nil
}

// Of returns the value on a node that has capacity.
func (v Value) Of(capacity resource.Quantity) resource.Quantity {
	if v.Quantity != nil {
		return v.Quantity.DeepCopy()
	}
	return *resource.NewQuantity(int64(float64(capacity.Value())*float64(v.Share)), resource.BinarySI)
}

// A Threshold is crossed while less than Value is available.
type Threshold struct {
	Signal     Signal
	Value      Value
	Grace      time.Duration // how long it must be crossed before pods go; zero: not at all, a hard one
	MinReclaim Value         // by how much it must be undercut before the shortage is over
}

// Hard reports whether pods go at once, without their usual grace.
func (t Threshold) Hard() bool { return t.Grace == 0 }

// Settings are the fields of a KubeletConfiguration that say when to evict, from signal to value.
type Settings struct {
	Hard, Soft, SoftGrace, MinReclaim map[string]string
	// Pods adds a hard threshold for the memory of all pods beside that of the node's.
	Pods bool
}

// Parse returns the thresholds, hard ones first, each kind in the order of the signals' names. The words of
// its errors are upstream's.
func Parse(s Settings) ([]Threshold, error) {
	out, err := statements(s.Hard)
	if err != nil {
		return nil, err
	}
	soft, err := statements(s.Soft)
	if err != nil {
		return nil, err
	}
	graces, err := each(s.SoftGrace, grace)
	if err != nil {
		return nil, err
	}
	reclaims, err := each(s.MinReclaim, reclaim)
	if err != nil {
		return nil, err
	}
	for _, t := range soft {
		var found bool
		if t.Grace, found = graces[t.Signal]; !found {
			return nil, fmt.Errorf("grace period must be specified for the soft eviction threshold %v", t.Signal)
		}
		out = append(out, t)
	}
	for i := range out {
		out[i].MinReclaim = reclaims[out[i].Signal]
	}
	if s.Pods {
		out = append(out, ofPods(out)...)
	}
	return out, nil
}

// ofPods returns what the hard thresholds of the node's memory mean for the memory of all pods.
func ofPods(all []Threshold) []Threshold {
	var out []Threshold
	for _, t := range all {
		if t.Signal == MemoryAvailable && t.Hard() {
			t.Signal = PodsMemoryAvailable
			out = append(out, t)
		}
	}
	return out
}

// statements parses lines such as nodefs.available: 10%.
func statements(lines map[string]string) ([]Threshold, error) {
	values, err := each(lines, value)
	if err != nil {
		return nil, err
	}
	var out []Threshold
	for _, s := range slices.Sorted(maps.Keys(values)) {
		if v := values[s]; v != nil {
			out = append(out, Threshold{Signal: s, Value: *v})
		}
	}
	return out, nil
}

// each parses every line, in the order of the signals: the first fault is always the same one.
func each[T any](lines map[string]string, parse func(s Signal, text string) (T, error)) (map[Signal]T, error) {
	out := make(map[Signal]T, len(lines))
	for _, name := range slices.Sorted(maps.Keys(lines)) {
		s := Signal(name)
		if s.Resource() == "" {
			return nil, fmt.Errorf("unsupported eviction signal %v", s)
		}
		v, err := parse(s, lines[name])
		if err != nil {
			return nil, err
		}
		out[s] = v
	}
	return out, nil
}

// value parses one threshold, nil for the values that turn it off.
func value(s Signal, text string) (*Value, error) {
	if strings.HasSuffix(text, "%") {
		if text == "0%" || text == "100%" {
			return nil, nil
		}
		share, err := percentage(text)
		switch {
		case err != nil:
			return nil, err
		case share < 0:
			return nil, fmt.Errorf("eviction percentage threshold %v must be >= 0%%: %s", s, text)
		case !(share <= 1): // also what is no number
			return nil, fmt.Errorf("eviction percentage threshold %v must be <= 100%%: %s", s, text)
		}
		return &Value{Share: share}, nil
	}
	q, err := resource.ParseQuantity(text)
	if err != nil {
		return nil, err
	}
	if q.Sign() <= 0 {
		return nil, fmt.Errorf("eviction threshold %v must be positive: %s", s, &q)
	}
	return &Value{Quantity: &q}, nil
}

func percentage(text string) (float32, error) {
	v, err := strconv.ParseFloat(strings.TrimRight(text, "%"), 32)
	if err != nil {
		return 0, err
	}
	return float32(v) / 100, nil
}

func grace(_ Signal, text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err == nil && d < 0 {
		err = fmt.Errorf("invalid eviction grace period specified: %v, must be a positive value", text)
	}
	return d, err
}

func reclaim(s Signal, text string) (Value, error) {
	if strings.HasSuffix(text, "%") {
		share, err := percentage(text)
		if err == nil && !(share > 0) {
			err = fmt.Errorf("eviction percentage minimum reclaim %v must be positive: %s", s, text)
		}
		return Value{Share: share}, err
	}
	q, err := resource.ParseQuantity(text)
	if err == nil && q.Sign() < 0 {
		err = fmt.Errorf("negative eviction minimum reclaim specified for %v", s)
	}
	return Value{Quantity: &q}, err
}
