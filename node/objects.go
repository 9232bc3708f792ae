package node

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
)

// objects reads what pods refer to. It asks the server rather than a view: a pod may arrive before a view
// shows what was made just before it.
type objects struct{ client api.Client }

func (o objects) ConfigMap(ctx context.Context, ns, name string) (*corev1.ConfigMap, error) {
	return api.ConfigMaps.Get(ctx, o.client, ns, name)
}

func (o objects) Secret(ctx context.Context, ns, name string) (*corev1.Secret, error) {
	return api.Secrets.Get(ctx, o.client, ns, name)
}

func (o objects) Services(ns string) []*corev1.Service {
	return api.Services.View(o.client).List(ns)
}

// sweepLogs removes the logs of pods that are gone.
func (a *Agent) sweepLogs(known map[types.UID]bool) {
	entries, err := os.ReadDir(a.opts.LogsDir)
	if err != nil {
		return
	}
	for _, e := range entries {
		i := strings.LastIndexByte(e.Name(), '_')
		if i < 0 || known[types.UID(e.Name()[i+1:])] {
			continue
		}
		if err := os.RemoveAll(filepath.Join(a.opts.LogsDir, e.Name())); err != nil {
			slog.Warn("Removing logs of a pod that is gone failed", "err", err)
		}
	}
}
