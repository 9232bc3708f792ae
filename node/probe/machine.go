// Package probe checks whether containers are alive, ready and started. A Machine counts results against
// a probe's thresholds: it is pure, without clock or network. A Prober runs the checks at their times and
// tells its owner when the machine's verdict changes. Messages are those of a v1.36 kubelet.
package probe

import (
	corev1 "k8s.io/api/core/v1"
)

// A Kind is what a probe is for.
type Kind string

// The kinds of probe, worded as in events.
const (
	Liveness  Kind = "Liveness"
	Readiness Kind = "Readiness"
	Startup   Kind = "Startup"
)

// A Result is the outcome of one check or the verdict over several.
type Result int

// Results. Unknown means that a check said nothing: it counts as a failure. A Warning is a success
// with something to tell.
const (
	Unknown Result = iota
	Success
	Failure
	Warning
)

// A Machine turns single results into verdicts.
type Machine struct {
	success, failure int
	last             Result
	run              int
	Verdict          Result
}

// NewMachine returns the machine of a probe in its initial verdict: alive, not ready, or not yet known
// to have started.
func NewMachine(k Kind, p *corev1.Probe) Machine {
	m := Machine{success: max(int(p.SuccessThreshold), 1), failure: max(int(p.FailureThreshold), 1)}
	switch k {
	case Liveness:
		m.Verdict = Success
	case Readiness:
		m.Verdict = Failure
	}
	return m
}

// Step takes the result of one check and reports whether the verdict changed.
func (m *Machine) Step(r Result) (changed bool) {
	switch r {
	case Unknown:
		r = Failure
	case Warning:
		r = Success
	}
	if r == m.last {
		m.run++
	} else {
		m.last, m.run = r, 1
	}
	if (r == Failure && m.run < m.failure) || (r == Success && m.run < m.success) {
		return false
	}
	changed = m.Verdict != r
	m.Verdict = r
	return changed
}
