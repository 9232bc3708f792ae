// Package shutdown gives pods time to stop when the machine is switched off: it asks the login manager to hold
// shutdowns back, and when one is announced ends the pods, lower priorities first, before it lets go. Who stops
// when is planned by groups, a pure function. Behaviour and words are those of a v1.36 kubelet.
package shutdown

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/node/podworker/lifecycle"
)

// What refused pods, and those that are ended, say.
const (
	RefusalReason  = "NodeShutdown"
	RefusalMessage = "Pod was rejected as the node is shutting down."
	endReason      = "Terminated"
	endMessage     = "Pod was terminated in response to imminent node shutdown."
	// NotReady is why the node is not ready meanwhile.
	NotReady = "node is shutting down"
)

const (
	reconnect = time.Second            // the pause before the login manager is asked again
	endEvery  = 100 * time.Millisecond // how often it is looked whether pods have ended
)

// A Login is the machine's login manager, which announces shutdowns and waits for those who hold them back.
type Login interface {
	// Allow makes the login manager wait for at least d.
	Allow(ctx context.Context, d time.Duration) error
	// Hold holds shutdowns back until release is called.
	Hold(ctx context.Context) (release func() error, err error)
	// Announced delivers true when the machine is about to shut down, false when it is not after all. It is
	// closed when the login manager can no longer be heard.
	Announced(ctx context.Context) (<-chan bool, error)
	Close() error
}

// Config is what a Manager needs of its node. All fields are required.
type Config struct {
	Periods []Period
	Connect func(context.Context) (Login, error)
	Pods    func() []*corev1.Pod // that have not ended
	End     func(pod *corev1.Pod, v lifecycle.Verdict)
	Ended   func(types.UID) bool
	// Changed is called when a shutdown begins or is called off.
	Changed   func(shuttingDown bool)
	Event     func(reason, message string) // records a normal event about the node
	StateFile string                       // when the last shutdown was, for the metrics
}

// A Manager watches for shutdowns. Make it with New and call Run.
type Manager struct {
	cfg        Config
	start, end prometheus.Gauge

	mu  sync.Mutex
	now bool
}

// New returns a Manager. It does nothing until Run.
func New(cfg Config) *Manager {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	return &Manager{cfg: cfg,
		start: gauge("kubelet_graceful_shutdown_start_time_seconds", "[ALPHA] Last graceful shutdown start time since unix epoch in seconds"),
		end:   gauge("kubelet_graceful_shutdown_end_time_seconds", "[ALPHA] Last graceful shutdown end time since unix epoch in seconds"),
	}
}

// Collectors returns what a registry of metrics takes.
func (m *Manager) Collectors() []prometheus.Collector { return []prometheus.Collector{m.start, m.end} }

// ShuttingDown reports whether the machine is being switched off.
func (m *Manager) ShuttingDown() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

func (m *Manager) set(now bool) {
	m.mu.Lock()
	m.now = now
	m.mu.Unlock()
	m.cfg.Changed(now)
}

// Run holds shutdowns back until ctx ends. A node whose configuration gives pods no time has nothing to do.
func (m *Manager) Run(ctx context.Context) error {
	if len(m.cfg.Periods) == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	m.recall()
	for told := false; ; {
		err := m.watch(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !told { // once: a machine without a login manager is none that gets one
			slog.Warn("Shutdowns of the machine cannot be watched for; it will be tried again", "err", err)
			told = true
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(reconnect):
		}
	}
}

// watch holds shutdowns back for as long as the login manager can be heard.
func (m *Manager) watch(ctx context.Context) error {
	login, err := m.cfg.Connect(ctx)
	if err != nil {
		return err
	}
	defer login.Close()
	if err := login.Allow(ctx, total(m.cfg.Periods)); err != nil {
		return err
	}
	release, err := login.Hold(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = release() }() // a second time does no harm
	announced, err := login.Announced(ctx)
	if err != nil {
		return fmt.Errorf("failed to monitor shutdown: %w", err)
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now, ok := <-announced:
			switch {
			case !ok:
				return fmt.Errorf("the login manager no longer tells of shutdowns")
			case now:
				m.cfg.Event("Shutdown", "Shutdown manager detected shutdown event")
				m.set(true)
				m.endPods(ctx)
				if err := release(); err != nil {
					slog.Warn("Letting the machine shut down failed; it will do so when its patience ends", "err", err)
				}
			default:
				m.cfg.Event("Shutdown", "Shutdown manager detected shutdown cancellation")
				m.set(false)
				again, err := login.Hold(ctx)
				if err != nil {
					return err
				}
				release = again
			}
		}
	}
}

// endPods ends all pods, one group after the other.
func (m *Manager) endPods(ctx context.Context) {
	began := time.Now()
	m.note(state{Start: began})
	for _, g := range groups(m.cfg.Periods, m.cfg.Pods()) {
		slog.Info("The machine is shutting down; pods are ended", "priority", g.Priority, "pods", len(g.pods), "grace", g.Grace)
		for _, pod := range g.pods {
			grace := g.grace(pod)
			m.cfg.End(pod, lifecycle.Verdict{Phase: corev1.PodFailed, Reason: endReason, Message: endMessage, Grace: &grace,
				Condition: &corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
					Reason: corev1.PodReasonTerminationByKubelet, Message: endMessage}})
		}
		m.await(ctx, g)
	}
	m.note(state{Start: began, End: time.Now()})
}

// await waits until the group has ended or its time is over.
func (m *Manager) await(ctx context.Context, g group) {
	ctx, cancel := context.WithTimeout(ctx, g.Grace)
	defer cancel()
	tick := time.NewTicker(endEvery)
	defer tick.Stop()
	for slices.ContainsFunc(g.pods, func(p *corev1.Pod) bool { return !m.cfg.Ended(p.UID) }) {
		select {
		case <-ctx.Done():
			slog.Warn("Pods have not ended in time", "priority", g.Priority, "grace", g.Grace)
			return
		case <-tick.C:
		}
	}
}
