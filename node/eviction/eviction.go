// Package eviction keeps a node from running out of memory, disk, inodes or process IDs: it says what the
// node is short of, reclaims what nobody needs and, where that does not do, ends pods, one after the other,
// those first that use more than they asked for and matter least. It also ends pods that exceed their own
// limits on storage.
//
// What is short is decided by a tracker, who has to go by rank, and why is said by explain: all pure. A
// Manager measures through the functions of its Config and acts. Behaviour, order and words are those of
// a v1.36 kubelet.
package eviction

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/node/eviction/threshold"
	"clipper/node/podworker/lifecycle"
	"clipper/node/priority"
)

// How often the node is looked at, and how long and how often an evicted pod's end is waited for. Upstream's
// figures, but for the pause.
const (
	lookEvery  = 10 * time.Second
	lookPause  = 500 * time.Millisecond // at least, whatever the kernel tells
	endTimeout = 30 * time.Second
	endEvery   = time.Second
)

// hardGrace is how long a pod has to stop when the node is short already.
const hardGrace = time.Second

// A Depth says how closely a pod is measured.
type Depth int

// The depths; each contains those before it. Files is expensive: it walks directories.
const (
	Whole Depth = iota
	Containers
	AllFiles
)

// Config is what a Manager needs of its node. All fields are required unless said otherwise.
type Config struct {
	Thresholds  []threshold.Threshold
	Transition  time.Duration // how long a condition outlasts what caused it
	MaxPodGrace time.Duration // for evictions by soft thresholds
	// LocalStorage makes it enforce the pods' own limits on storage.
	LocalStorage bool
	// DedicatedImageFS: images and containers' layers do not lie on the file system of volumes and logs.
	DedicatedImageFS bool

	Observe func() (Observations, error)
	Pods    func() []*corev1.Pod // that run or are about to, without those that have been evicted
	Measure func(ctx context.Context, pod *corev1.Pod, d Depth) (*Usage, error)
	Evict   func(pod *corev1.Pod, v lifecycle.Verdict)
	Ended   func(types.UID) bool // nothing of the pod runs any more
	// Reclaim frees disk without hurting pods: what has ended, what nobody uses.
	Reclaim []func(context.Context) error
	// Changed is called when Conditions has.
	Changed  func()
	Recorder Recorder
	Node     corev1.ObjectReference
	Metrics  *Metrics
	Alarm    *Alarm
}

// A Recorder takes events.
type Recorder interface {
	EventAt(ref corev1.ObjectReference, eventType, reason, format string, args ...any)
	EventAnnotated(pod *corev1.Pod, annotations map[string]string, eventType, reason, message string)
}

// A Manager looks after one node. Make it with New and call Run; Conditions and Refuse may be called by anyone.
type Manager struct {
	cfg     Config
	tracker *tracker

	mu         sync.Mutex
	conditions []corev1.NodeConditionType

	measureAt time.Time // when to look at the pods' storage again; Run's goroutine's own
}

// New returns a Manager. It does nothing until Run.
func New(cfg Config) *Manager {
	cfg.Thresholds = slices.DeleteFunc(slices.Clone(cfg.Thresholds), func(t threshold.Threshold) bool {
		if t.Signal.OfContainerFS() { // nodefs' or imagefs' threshold holds for it
			slog.Warn("An eviction threshold is ignored: containers' layers have no file system of their own", "signal", t.Signal)
			return true
		}
		return false
	})
	return &Manager{cfg: cfg, tracker: newTracker(cfg.Thresholds, cfg.Transition)}
}

// Run looks at the node, every ten seconds and when the kernel raises the alarm, until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	if len(m.cfg.Thresholds) == 0 && !m.cfg.LocalStorage {
		<-ctx.Done()
		return ctx.Err()
	}
	alarm := m.cfg.Alarm.start(ctx)
	defer m.cfg.Alarm.stop()
	tick := time.NewTimer(0)
	defer tick.Stop()
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-alarm:
			if pause := lookPause - time.Since(last); pause > 0 {
				tick.Reset(pause)
				continue
			}
		}
		last = time.Now()
		if evicted := m.look(ctx, last); len(evicted) > 0 {
			m.awaitEnd(ctx, evicted)
			tick.Reset(0)
			continue
		}
		tick.Reset(lookEvery)
	}
}

// awaitEnd waits for pods to be gone: until then it is no use to look what is still short.
func (m *Manager) awaitEnd(ctx context.Context, pods []*corev1.Pod) {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	tick := time.NewTicker(endEvery)
	defer tick.Stop()
	for slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return !m.cfg.Ended(p.UID) }) {
		select {
		case <-ctx.Done():
			slog.Info("Evicted pods take long to end", "pods", len(pods))
			return
		case <-tick.C:
		}
	}
}

// look measures the node and does what that calls for. It returns whom it has evicted.
func (m *Manager) look(ctx context.Context, now time.Time) []*corev1.Pod {
	observed, err := m.cfg.Observe()
	if err != nil {
		slog.Warn("Measuring the node failed; pods cannot be evicted in time", "err", err)
		return nil
	}
	starved, conditions := m.tracker.observe(observed, now)
	m.cfg.Alarm.arm(m.cfg.Thresholds, observed)
	m.setConditions(conditions)
	if m.cfg.LocalStorage {
		if evicted := m.enforceStorage(ctx, now); len(evicted) > 0 {
			return evicted
		}
	}
	if len(starved) == 0 {
		return nil
	}
	what := starved[0].Signal.Resource()
	m.cfg.Recorder.EventAt(m.cfg.Node, corev1.EventTypeWarning, "EvictionThresholdMet", "Attempting to reclaim %s", what)
	if m.reclaim(ctx, starved[0].Signal) {
		slog.Info("The node is no longer short; no pod had to go", "resource", what)
		return nil
	}
	if pod := m.evictOne(ctx, starved, observed, now); pod != nil {
		return []*corev1.Pod{pod}
	}
	slog.Info("The node is short and no pod can be evicted", "resource", what)
	return nil
}

// reclaim frees what nobody needs and reports whether that was enough.
func (m *Manager) reclaim(ctx context.Context, s threshold.Signal) bool {
	if s.Condition() != corev1.NodeDiskPressure || !filesOf(s, m.cfg.DedicatedImageFS).Rootfs {
		return false
	}
	for _, free := range m.cfg.Reclaim {
		if err := free(ctx); err != nil {
			slog.Warn("Reclaiming disk failed", "signal", s, "err", err)
		}
	}
	observed, err := m.cfg.Observe()
	return err == nil && m.tracker.relieved(observed)
}

// evictOne ends the first pod in rank that may go.
func (m *Manager) evictOne(ctx context.Context, starved []threshold.Threshold, o Observations, measured time.Time) *corev1.Pod {
	first := starved[0]
	depth := Whole
	if first.Signal.Condition() == corev1.NodeDiskPressure {
		depth = AllFiles
	}
	var candidates []Candidate
	for _, pod := range m.cfg.Pods() {
		candidates = append(candidates, m.measure(ctx, pod, depth))
	}
	rank(candidates, first.Signal, filesOf(first.Signal, m.cfg.DedicatedImageFS))
	for _, t := range starved {
		m.cfg.Metrics.age.WithLabelValues(string(t.Signal)).Observe(time.Since(measured).Seconds())
	}
	for _, c := range candidates {
		if priority.Critical(c.Pod) {
			continue
		}
		if depth < Containers && first.Signal.Condition() == corev1.NodeMemoryPressure {
			c = m.measure(ctx, c.Pod, Containers)
		}
		why := explain(first.Signal.Resource(), c, starved, o)
		condition := &corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
			Reason: corev1.PodReasonTerminationByKubelet, Message: why.message}
		m.evict(c.Pod, m.grace(first, c.Pod), why, condition, string(first.Signal))
		return c.Pod
	}
	return nil
}

func (m *Manager) measure(ctx context.Context, pod *corev1.Pod, d Depth) Candidate {
	u, err := m.cfg.Measure(ctx, pod, d)
	if err != nil {
		slog.Debug("A pod cannot be measured", "pod", pod.Namespace+"/"+pod.Name, "err", err)
		return Candidate{Pod: pod}
	}
	return Candidate{Pod: pod, Usage: u}
}

// grace returns how long a pod has to stop.
func (m *Manager) grace(t threshold.Threshold, pod *corev1.Pod) time.Duration {
	if t.Hard() {
		return hardGrace
	}
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		return min(m.cfg.MaxPodGrace, time.Duration(*s)*time.Second)
	}
	return m.cfg.MaxPodGrace
}

func (m *Manager) evict(pod *corev1.Pod, grace time.Duration, why explanation, c *corev1.PodCondition, signal string) {
	slog.Info("Evicting a pod", "pod", pod.Namespace+"/"+pod.Name, "uid", pod.UID, "signal", signal, "why", why.message)
	m.cfg.Metrics.evictions.WithLabelValues(signal).Inc()
	m.cfg.Recorder.EventAnnotated(pod, why.annotations, corev1.EventTypeWarning, Reason, why.message)
	m.cfg.Evict(pod, lifecycle.Verdict{Phase: corev1.PodFailed, Reason: Reason, Message: why.message, Condition: c, Grace: &grace})
}

// storageShare bounds the time spent on measuring storage: one part in so many.
const storageShare = 20

// enforceStorage ends the pods that exceed their own limits on storage.
func (m *Manager) enforceStorage(ctx context.Context, now time.Time) []*corev1.Pod {
	if now.Before(m.measureAt) {
		return nil
	}
	var evicted []*corev1.Pod
	began := time.Now()
	for _, pod := range m.cfg.Pods() {
		if !limitsStorage(pod) {
			continue
		}
		c := m.measure(ctx, pod, AllFiles)
		if c.Usage == nil || priority.Critical(pod) {
			continue
		}
		if signal, message := overStorage(c, m.cfg.DedicatedImageFS); signal != "" {
			m.evict(pod, hardGrace, explanation{message: message}, nil, signal)
			evicted = append(evicted, pod)
		}
	}
	m.measureAt = now.Add(storageShare * time.Since(began))
	return evicted
}
