package probe

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// A runtime that does not answer is no reason to kill what it runs.
func TestACheckThatCannotBeMadeDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		answer := errors.New("the runtime is away")
		code, failed := 0, 0
		var verdicts []Result
		p := Prober{
			Kind: Liveness, StartedAt: time.Now(),
			Probe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"x"}}}, PeriodSeconds: 1, FailureThreshold: 2},
			Target: Target{Container: &corev1.Container{}, Exec: func(context.Context, []string, int) (int, string, error) {
				return code, "", answer
			}},
			Changed: func(r Result, _ string) { verdicts = append(verdicts, r) },
			Failed:  func(string, error) { failed++ },
		}
		done := make(chan struct{})
		go func() { p.Run(ctx); close(done) }()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if len(verdicts) != 0 || failed < 10 {
			t.Errorf("verdicts %v after %d checks that could not be made", verdicts, failed)
		}
		answer, code = nil, 1
		time.Sleep(3 * time.Second)
		<-done
		if len(verdicts) != 1 || verdicts[0] != Failure {
			t.Errorf("verdicts %v of a command that fails", verdicts)
		}
		cancel()
	})
}
