package node

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"clipper/node/kubeletconfig"
	"clipper/node/server"
	"clipper/node/stats"
	"clipper/node/status"
)

// serve answers the node's own API, if it has a listener, and the health check that needs no authorization.
func (a *Agent) serve(ctx context.Context) error {
	if a.opts.Listener == nil {
		return nil
	}
	cas, err := a.clientCAs()
	if err != nil {
		return err
	}
	settings := a.settings()
	info := a.reporter.Facts().Machine
	s := server.New(server.Config{
		NodeName: a.opts.NodeName, Settings: settings, Pods: a.pods, Runtime: a.opts.Runtime, Stats: a.newStats(),
		Machine:    stats.Machine{MachineID: info.Info.MachineID, SystemUUID: info.Info.SystemUUID, BootID: info.Info.BootID, Memory: info.Memory, Swap: info.Swap},
		Authorizer: server.NewDelegated(a.opts.Client, a.opts.NodeName, settings, cas), ServingCert: a.opts.ServingCert,
		Collectors: a.collectors, Probes: a.probes.Collectors(), Healthy: a.healthy, SystemLogs: a.opts.LogDir,
	})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.Serve(ctx, a.opts.Listener) })
	plain := func(name, address string, port int32, h http.Handler) {
		if port == 0 {
			return
		}
		l, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(int(port))))
		if err != nil { // the node does its work without
			slog.Warn("A port of the node is not served; choose another in the kubelet configuration", "field", name, "err", err)
			return
		}
		group.Go(func() error { return s.ServePlain(ctx, l, h) })
	}
	plain("healthzPort", settings.HealthzBindAddress, *settings.HealthzPort, s.Health())
	plain("readOnlyPort", settings.Address, settings.ReadOnlyPort, s.ReadOnly())
	return group.Wait()
}

// settings are those in force: what other options say stands in them too.
func (a *Agent) settings() *kubeletconfig.Configuration {
	c := a.opts.Config.DeepCopy()
	c.ClusterDomain, c.CgroupRoot, c.StaticPodPath = a.opts.ClusterDomain, a.opts.CgroupRoot, a.opts.ManifestDir
	c.ClusterDNS = nil
	for _, ip := range a.opts.ClusterDNS {
		c.ClusterDNS = append(c.ClusterDNS, ip.String())
	}
	c.ResolverConfig, c.PodLogsDir = &a.opts.ResolvConf, a.opts.podLogsDir()
	if addr, ok := a.opts.Listener.Addr().(*net.TCPAddr); ok {
		c.Address, c.Port = addr.IP.String(), int32(addr.Port)
	}
	return c
}

// clientCAs are the authorities of callers' certificates: the cluster's, and what the settings name.
func (a *Agent) clientCAs() (*x509.CertPool, error) {
	file := a.opts.Config.Authentication.X509.ClientCAFile
	if file == "" {
		return a.opts.ClientCAs, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("kubelet configuration: authentication.x509.clientCAFile: %w", err)
	}
	pool := a.opts.ClientCAs.Clone()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("kubelet configuration: authentication.x509.clientCAFile: %s holds no certificate", file)
	}
	return pool, nil
}

func (a *Agent) newStats() *stats.Collector {
	return stats.New(stats.Config{
		NodeName: a.opts.NodeName, Memory: a.reporter.Facts().Machine.Memory, BootTime: status.BootTime(), DataDir: a.opts.DataDir,
		CgroupRoot: a.opts.CgroupRoot, ShimCgroup: path.Join(path.Dir(a.opts.CgroupRoot), "shim"), Runtime: a.opts.Runtime,
		Pods: func() []stats.Pod {
			pods := a.pods()
			out := make([]stats.Pod, len(pods))
			for i, p := range pods {
				out[i] = p
			}
			return out
		},
		Volumes: a.volumes.Stats,
	})
}

// How long the agent's lock may be held before the node counts as standing still, and how often that is looked at.
const (
	longestHold = 5 * time.Second
	holdPoll    = 20 * time.Millisecond
)

// healthy finds out whether the agent still takes decisions: nothing holds its lock for long.
func (a *Agent) healthy() error {
	for end := time.Now().Add(longestHold); time.Now().Before(end); time.Sleep(holdPoll) {
		if a.mu.TryLock() {
			a.mu.Unlock()
			return nil
		}
	}
	return errors.New("the loop of pods stands still")
}

// pods returns the pods of the node, those included that have ended but are not deleted.
func (a *Agent) pods() []server.Pod {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]server.Pod, 0, len(a.workers))
	for _, h := range a.workers {
		if !h.done {
			out = append(out, h)
		}
	}
	return out
}
