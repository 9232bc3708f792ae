package node

import (
	"log/slog"
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// BenchmarkStart measures from the creation of a pod to its Running in the API, one at a time, with the
// image present. CLIPPER_DEBUG=1 shows what each action takes.
func BenchmarkStart(b *testing.B) {
	c := newCluster(b)
	if os.Getenv("CLIPPER_DEBUG") != "" {
		slog.SetLogLoggerLevel(slog.LevelDebug)
		defer slog.SetLogLoggerLevel(slog.LevelInfo)
	}
	for b.Loop() {
		p := c.create("p", "sleep 1000", func(p *corev1.Pod) { p.Name, p.GenerateName = "", "p-" })
		c.phase(p.Name, corev1.PodRunning)
	}
}
