package node

import (
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"clipper/node/shutdown"
	"clipper/node/status"
)

// openShutdown makes what gives pods time when the machine is switched off.
func (a *Agent) openShutdown() {
	a.shutdown = shutdown.New(shutdown.Config{
		Periods: shutdown.Periods(a.opts.Config), Connect: a.opts.Login,
		Pods: a.evictable, End: a.evict, Ended: a.ended,
		Changed: func(now bool) {
			why := ""
			if now {
				why = shutdown.NotReady
			}
			a.reporter.SetNotReady(status.Shutdown, why)
		},
		Event:     func(reason, message string) { a.nodeEvent(corev1.EventTypeNormal, reason, "%s", message) },
		StateFile: filepath.Join(a.opts.DataDir, "graceful_node_shutdown_state"),
	})
	a.collectors = slices.Concat(a.collectors, a.shutdown.Collectors())
}
