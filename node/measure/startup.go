package measure

import (
	"strconv"
	"sync"
	"time"

	"clipper/api/containers"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// startup follows pods from when they are first seen until all their containers are reported as started.
type startup struct {
	duration   prometheus.Histogram
	sli, total *prometheus.HistogramVec

	mu        sync.Mutex
	waiting   map[types.UID]time.Time // when a pod that has not started was first seen
	pulls     map[string]span         // the last pull of each image
	networked bool                    // a pod with a network of its own has started
}

type span struct{ from, to time.Time }

// maxPulls bounds what is remembered of pulls; beyond it all are forgotten, which makes some starts look slow.
const maxPulls = 1000

// Observed takes a pod as the API shows it at the time now.
func (s *startup) Observed(pod *corev1.Pod, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen, waiting := s.waiting[pod.UID]
	switch {
	case !started(pod):
		if !waiting && pod.DeletionTimestamp == nil && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
			if s.waiting == nil {
				s.waiting = map[types.UID]time.Time{}
			}
			s.waiting[pod.UID] = now
		}
	case waiting: // one that had started when it was first seen tells nothing
		delete(s.waiting, pod.UID)
		s.recordLocked(pod, seen, now)
	}
}

// Gone forgets a pod.
func (s *startup) Gone(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, uid)
}

func (s *startup) recordLocked(pod *corev1.Pod, seen, now time.Time) {
	first := !pod.Spec.HostNetwork && !s.networked
	s.networked = s.networked || first
	label, total := strconv.FormatBool(first), now.Sub(pod.CreationTimestamp.Time)
	s.duration.Observe(now.Sub(seen).Seconds())
	s.total.WithLabelValues(label).Observe(total.Seconds())
	s.sli.WithLabelValues(label).Observe(max(total-s.pullingLocked(pod, seen), 0).Seconds())
}

// pullingLocked returns how long a pod's images were being pulled since it was seen: from the first pull's begin to the
// last one's end, as upstream reckons.
func (s *startup) pullingLocked(pod *corev1.Pod, seen time.Time) time.Duration {
	var from, to time.Time
	for c := range containers.Of(&pod.Spec) {
		p, ok := s.pulls[c.Image]
		if !ok || p.to.Before(seen) {
			continue
		}
		if from.IsZero() || p.from.Before(from) {
			from = p.from
		}
		if p.to.After(to) {
			to = p.to
		}
	}
	return to.Sub(from)
}

func (s *startup) pulled(image string, from, to time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pulls == nil || len(s.pulls) >= maxPulls {
		s.pulls = map[string]span{}
	}
	s.pulls[image] = span{from, to}
}

// started reports whether all containers of a pod have started, whatever became of them since.
func started(pod *corev1.Pod) bool {
	for i := range pod.Status.ContainerStatuses {
		if st := pod.Status.ContainerStatuses[i].State; st.Running == nil && st.Terminated == nil {
			return false
		}
	}
	return len(pod.Status.ContainerStatuses) > 0
}
