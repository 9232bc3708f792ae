package probe

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// A Prober makes the checks of one probe of one running container.
type Prober struct {
	Kind      Kind
	Probe     *corev1.Probe
	Target    Target
	StartedAt time.Time // of the container
	Initial   Result    // verdict carried over from before a restart of the agent, else Unknown

	// Changed is called with every new verdict; message explains a failure. For a liveness or startup
	// probe a Failure is final: the prober ends with it.
	Changed func(verdict Result, message string)
	// Checked is called for every check with how long it took. Nil: nobody counts.
	Checked func(r Result, took time.Duration)
	// Failed is called for every check that fails or cannot be made, for the Unhealthy event.
	Failed func(output string, err error)
	// Warned is called for every check that succeeds with a warning.
	Warned func(output string)
}

// Run makes checks until ctx ends, a liveness or startup probe has failed, or a startup probe succeeded.
func (p *Prober) Run(ctx context.Context) {
	m := NewMachine(p.Kind, p.Probe)
	if p.Initial != Unknown {
		m.Verdict = p.Initial
	}
	delay := time.Until(p.StartedAt.Add(time.Duration(p.Probe.InitialDelaySeconds) * time.Second))
	timer := time.NewTimer(max(delay, 0))
	defer timer.Stop()
	pauses := p.pauses()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		began := time.Now()
		if p.step(ctx, &m) {
			return
		}
		timer.Reset(max(time.Until(began.Add(pauses.next(m.last))), 0))
	}
}

// firstPause is how long after a first check that failed a container is asked again whether it is ready.
const firstPause = 100 * time.Millisecond

// pauses are the times between the checks of a probe. They are its period; but a container that has just started and
// never been ready is asked more often at first, so that it need not wait a whole period because it was not listening
// yet. That readiness may be checked at other times is what upstream documents of periodSeconds.
type pauses struct {
	period time.Duration
	early  time.Duration // the next pause before the first success; zero: they are over
}

func (p *Prober) pauses() *pauses {
	out := &pauses{period: time.Duration(max(p.Probe.PeriodSeconds, 1)) * time.Second}
	if p.Kind == Readiness && p.Initial == Unknown {
		out.early = firstPause
	}
	return out
}

// next returns how long after a check, which had result last, the next one begins.
func (s *pauses) next(last Result) time.Duration {
	if last == Success || s.early >= s.period {
		s.early = 0
	}
	if s.early == 0 {
		return s.period
	}
	pause := s.early
	s.early *= 2
	return pause
}

// step makes one check and reports whether it was the last.
func (p *Prober) step(ctx context.Context, m *Machine) (done bool) {
	start := time.Now()
	r, out, err := p.check(ctx)
	if ctx.Err() != nil {
		return true // the container is going away: what was seen says nothing
	}
	if p.Checked != nil {
		p.Checked(r, time.Since(start))
	}
	switch r {
	case Success:
	case Warning:
		p.Warned(out)
	default:
		p.Failed(out, err)
	}
	if err != nil || !m.Step(r) { // a check that could not be made says nothing of the container
		return false
	}
	p.Changed(m.Verdict, out)
	return p.Kind == Startup || (p.Kind == Liveness && m.Verdict == Failure)
}

// attempts is how often a check is tried that cannot be made. Upstream's figure.
const attempts = 3

func (p *Prober) check(ctx context.Context) (r Result, out string, err error) {
	for range attempts {
		if r, out, err = Check(ctx, p.Probe, p.Target); err == nil || ctx.Err() != nil {
			break
		}
	}
	return r, out, err
}
