package podworker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
)

type refusal struct{}

func (refusal) Error() string             { return "no more" }
func (refusal) Refusal() (string, string) { return "VolumeAttachmentLimitExceeded", "no more" }

// What a failed mount makes of a pod, and what it tells.
func TestFailedMounts(t *testing.T) {
	for _, tc := range []struct {
		name  string
		err   error
		phase corev1.PodPhase
		event string // "": none of a mount
	}{
		{"a failure", errors.New("MountVolume.SetUp failed"), corev1.PodPending, "FailedMount MountVolume.SetUp failed"},
		{"not attached in time", fmt.Errorf("unmounted volumes: %w", context.DeadlineExceeded), corev1.PodPending, ""},
		{"refused", fmt.Errorf("joined: %w", refusal{}), corev1.PodFailed, "VolumeAttachmentLimitExceeded no more"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.mount = func(*corev1.Pod) error { return tc.err }
				r.start(newPod(container("web", "web:1")))
				synctest.Wait()
				p := r.pod()
				if p.Status.Phase != tc.phase {
					t.Errorf("phase %s, want %s", p.Status.Phase, tc.phase)
				}
				if tc.phase == corev1.PodFailed && (p.Status.Reason != "VolumeAttachmentLimitExceeded" || p.Status.Message != "Pod was rejected: no more") {
					t.Errorf("status: %s: %s", p.Status.Reason, p.Status.Message)
				}
				told := strings.Join(r.events, "\n")
				if tc.event == "" && strings.Contains(told, "FailedMount") || !strings.Contains(told, tc.event) {
					t.Errorf("events:\n%s\nwant %q", told, tc.event)
				}
				r.stop()
			})
		})
	}
}
