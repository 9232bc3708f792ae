package credential

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
)

// Config says where a node looks for logins.
type Config struct {
	// Dirs may hold config.json, a docker configuration for all pods of the node; the first that does counts.
	// Where none does, those of root and of the whole machine count: ~/.docker/config.json and /.docker/config.json.
	Dirs []string
	// ProviderConfig and ProviderDir are the configuration of the credential provider plug-ins and the
	// folder of their programs; both or neither.
	ProviderConfig, ProviderDir string
	Accounts                    ServiceAccounts // for plug-ins that want tokens
}

// A Finder finds logins. Its methods may be called concurrently.
type Finder struct {
	files   []string
	plugins []*plugin
	metrics *metrics
}

// metrics are a kubelet's of the same names.
type metrics struct {
	errors    *prometheus.CounterVec
	durations *prometheus.HistogramVec
}

func newMetrics() *metrics {
	name := []string{"plugin_name"}
	return &metrics{
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_credential_provider_plugin_errors_total",
			Help: "[ALPHA] Number of errors from credential provider plugin"}, name),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "kubelet_credential_provider_plugin_duration",
			Help: "[ALPHA] Duration of execution in seconds for credential provider plugin", Buckets: prometheus.DefBuckets}, name),
	}
}

// Collectors are what a registry of metrics takes.
func (f *Finder) Collectors() []prometheus.Collector {
	return []prometheus.Collector{f.metrics.errors, f.metrics.durations}
}

// Open reads the configuration.
func Open(c Config) (*Finder, error) {
	f := &Finder{metrics: newMetrics()}
	for _, dir := range c.Dirs {
		f.files = append(f.files, filepath.Join(dir, "config.json"))
	}
	if home, err := os.UserHomeDir(); err == nil {
		f.files = append(f.files, filepath.Join(home, ".docker", "config.json"))
	}
	f.files = append(f.files, "/.docker/config.json")
	if c.ProviderConfig == "" && c.ProviderDir == "" {
		return f, nil
	}
	if c.ProviderConfig == "" || c.ProviderDir == "" {
		return nil, fmt.Errorf("--image-credential-provider-config and --image-credential-provider-bin-dir go together")
	}
	var err error
	f.plugins, err = openPlugins(c.ProviderConfig, c.ProviderDir, c.Accounts, f.metrics)
	return f, err
}

// Logins returns what to show the registry of a repository for the pod: first its own pull secrets, then the
// node's logins, then those of plug-ins.
func (f *Finder) Logins(ctx context.Context, pod *corev1.Pod, secrets []*corev1.Secret, repository string) ([]Login, error) {
	var own, node, external Keyring
	if err := own.AddSecrets(secrets); err != nil {
		return nil, err
	}
	node.Add(nodeEntries(f.files), nil, nil)
	for _, p := range f.plugins {
		entries, account, err := p.logins(ctx, pod, repository)
		if err != nil {
			slog.Error("Failed to provide credentials for image", "provider", p.config.Name, "image", repository, "pod", pod.Namespace+"/"+pod.Name, "err", err)
			continue
		}
		external.Add(entries, nil, account)
	}
	out := own.Lookup(repository)
	out = append(out, node.Lookup(repository)...)
	return append(out, external.Lookup(repository)...), nil
}
