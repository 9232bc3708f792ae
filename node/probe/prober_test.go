package probe

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// command is what an exec probe meets: the times of its checks, and an answer that can be changed.
type command struct {
	mu    sync.Mutex
	code  int
	err   error
	began time.Time
	times []time.Duration
}

func (c *command) run(context.Context, []string, int) (int, string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.times = append(c.times, time.Since(c.began))
	return c.code, "", c.err
}

func (c *command) answer(code int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.code, c.err = code, err
}

// prober returns a prober of c that begins now.
func (c *command) prober(k Kind, p corev1.Probe) *Prober {
	c.began = time.Now()
	p.Exec = &corev1.ExecAction{Command: []string{"x"}}
	return &Prober{Kind: k, StartedAt: c.began, Probe: &p, Target: Target{Container: &corev1.Container{}, Exec: c.run},
		Changed: func(Result, string) {}, Failed: func(string, error) {}}
}

// A runtime that does not answer is no reason to kill what it runs.
func TestACheckThatCannotBeMadeDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &command{err: errors.New("the runtime is away")}
		var failed atomic.Int32
		verdicts := make(chan Result, 10)
		p := c.prober(Liveness, corev1.Probe{PeriodSeconds: 1, FailureThreshold: 2})
		p.Changed = func(r Result, _ string) { verdicts <- r }
		p.Failed = func(string, error) { failed.Add(1) }
		done := make(chan struct{})
		go func() { p.Run(t.Context()); close(done) }()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if len(verdicts) != 0 || failed.Load() < 10 {
			t.Errorf("%d verdicts after %d checks that could not be made", len(verdicts), failed.Load())
		}
		c.answer(1, nil)
		<-done
		if len(verdicts) != 1 || <-verdicts != Failure {
			t.Error("no verdict of a command that fails")
		}
	})
}

// A container that has just started is asked soon again whether it is ready; one that was ready only in its period.
func TestReadinessIsCheckedEarly(t *testing.T) {
	for _, c := range []struct {
		name    string
		kind    Kind
		initial Result
		period  int32
		success int32
		want    []time.Duration // of the checks; the container answers from 1 s to 25 s
	}{
		{"readiness", Readiness, Unknown, 10, 1, []time.Duration{0, 100, 300, 700, 1500, 11500, 21500, 31500}},
		{"two successes", Readiness, Unknown, 10, 2, []time.Duration{0, 100, 300, 700, 1500, 11500, 21500, 31500}},
		{"short period", Readiness, Unknown, 1, 1, []time.Duration{0, 100, 300, 700, 1500, 2500}},
		{"after the agent's restart", Readiness, Failure, 10, 1, []time.Duration{0, 10000, 20000, 30000}},
		{"liveness", Liveness, Unknown, 10, 1, []time.Duration{0, 10000, 20000, 30000}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cmd := &command{code: 1}
				p := cmd.prober(c.kind, corev1.Probe{PeriodSeconds: c.period, SuccessThreshold: c.success, FailureThreshold: 100})
				p.Initial = c.initial
				ctx, cancel := context.WithTimeout(t.Context(), 35*time.Second)
				defer cancel()
				time.AfterFunc(time.Second, func() { cmd.answer(0, nil) })
				time.AfterFunc(25*time.Second, func() { cmd.answer(1, nil) })
				p.Run(ctx)
				for i, want := range c.want {
					if want *= time.Millisecond; cmd.times[i] != want {
						t.Fatalf("checks at %v, want number %d at %v", cmd.times, i, want)
					}
				}
			})
		})
	}
}
