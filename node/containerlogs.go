package node

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"clipper/node/logs"
)

// podLogsDir is the folder of the pods' logs.
func (o *Options) podLogsDir() string {
	return cmp.Or(o.Config.PodLogsDir, filepath.Join(o.LogDir, "pods"))
}

// logLinks is the folder of links to containers' logs.
func (o *Options) logLinks() logs.Links { return logs.Links(filepath.Join(o.LogDir, "containers")) }

// rotateLogs keeps the containers' logs small.
func (a *Agent) rotateLogs(ctx context.Context) error {
	r, err := logs.NewRotator(a.opts.Runtime, a.opts.Config)
	if err != nil {
		return err
	}
	return r.Run(ctx)
}

// sweepLogs removes the logs of pods that are gone.
func (a *Agent) sweepLogs(known map[types.UID]bool) {
	dir := a.opts.podLogsDir()
	entries, err := os.ReadDir(dir)
	if err != nil {
		slog.Warn("Looking for logs of pods that are gone failed", "err", err)
		return
	}
	for _, e := range entries {
		i := strings.LastIndexByte(e.Name(), '_')
		if i < 0 || known[types.UID(e.Name()[i+1:])] {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			slog.Warn("Removing logs of a pod that is gone failed", "err", err)
		}
	}
	if err := a.opts.logLinks().Sweep(); err != nil {
		slog.Warn("Removing links of logs that are gone failed", "err", err)
	}
}
