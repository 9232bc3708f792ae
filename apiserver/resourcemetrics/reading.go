package resourcemetrics

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
)

// A reading is what a node told at one time.
type reading struct {
	node usage
	pods map[types.NamespacedName]map[string]usage // by container
}

// usage is what something has used of processor time since it began, and holds of memory.
type usage struct {
	at                time.Time
	started           time.Time // zero: not known
	cpu               float64   // seconds
	memory            float64   // bytes
	hasCPU, hasMemory bool
}

// set says what a sample of a family means for what it is about.
var set = map[string]func(*usage, sample){
	"node_cpu_usage_seconds_total":       (*usage).setCPU,
	"node_memory_working_set_bytes":      (*usage).setMemory,
	"container_cpu_usage_seconds_total":  (*usage).setCPU,
	"container_memory_working_set_bytes": (*usage).setMemory,
	"container_start_time_seconds":       (*usage).setStart,
}

// parse reads a node's answer. What has no time stamp is as old as the answer; what is not understood, or not
// wanted, is passed over. The field's own parser is not used: it panics on some inputs, and nodes are not trusted
// that far.
func parse(from io.Reader, now time.Time) (*reading, error) {
	r := &reading{node: usage{at: now}, pods: map[types.NamespacedName]map[string]usage{}}
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		s, ok := parseSample(lines.Text())
		if !ok {
			continue
		}
		apply := set[s.name]
		switch {
		case apply == nil:
		case strings.HasPrefix(s.name, "node_"):
			apply(&r.node, s)
		default:
			r.container(s, now, apply)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read a node's metrics: %w", err)
	}
	return r, nil
}

func (r *reading) container(s sample, now time.Time, apply func(*usage, sample)) {
	pod := types.NamespacedName{Namespace: s.labels["namespace"], Name: s.labels["pod"]}
	if r.pods[pod] == nil {
		r.pods[pod] = map[string]usage{}
	}
	u, ok := r.pods[pod][s.labels["container"]]
	if !ok {
		u.at = now
	}
	apply(&u, s)
	r.pods[pod][s.labels["container"]] = u
}

func (u *usage) setCPU(s sample) {
	u.cpu, u.hasCPU = s.value, true
	if !s.at.IsZero() {
		u.at = s.at
	}
}

func (u *usage) setMemory(s sample) { u.memory, u.hasMemory = s.value, true }

func (u *usage) setStart(s sample) {
	if s.value > 0 && s.value < math.MaxInt64/float64(time.Second) {
		u.started = time.Unix(0, int64(s.value*float64(time.Second)))
	}
}

// shortest is the span that a rate must be taken over to mean anything.
const shortest = 500 * time.Millisecond

// since returns what was used between two readings of the same thing, and over which span; ok is false if that
// cannot be told. What has begun in between had used nothing when it did.
func (u usage) since(before usage, known bool) (use corev1.ResourceList, window time.Duration, ok bool) {
	if !u.hasCPU || !u.hasMemory || !(u.memory >= 0) {
		return nil, 0, false
	}
	if !known || u.cpu < before.cpu || u.started.After(before.at) {
		if u.started.IsZero() {
			return nil, 0, false
		}
		before = usage{at: u.started}
	}
	window = u.at.Sub(before.at)
	rate := (u.cpu - before.cpu) / window.Seconds()
	if window < shortest || !(rate >= 0) || rate > math.MaxInt32 || u.memory > math.MaxInt64/2 {
		return nil, 0, false
	}
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewScaledQuantity(int64(math.Ceil(rate*1e9)), resource.Nano),
		corev1.ResourceMemory: *resource.NewQuantity(int64(u.memory), resource.BinarySI),
	}, window, true
}
