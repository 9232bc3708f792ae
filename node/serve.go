package node

import (
	"context"

	"clipper/node/server"
	"clipper/node/status"
)

// serve answers the node's own API, if it has a listener.
func (a *Agent) serve(ctx context.Context) error {
	if a.opts.Listener == nil {
		return nil
	}
	authorize := a.opts.Authorize
	if authorize == nil {
		authorize = (&server.Delegated{Client: a.opts.Client, NodeName: a.opts.NodeName}).Authorize
	}
	boot := status.BootTime()
	facts := a.reporter.Facts()
	s := server.New(server.Config{
		Pods: a.pods, Runtime: a.opts.Runtime, Authorize: authorize,
		ServingCert: a.opts.ServingCert, ClientCAs: a.opts.ClientCAs,
		Node: func() server.NodeFacts {
			n := server.NodeFacts{Name: a.opts.NodeName, Memory: facts.Machine.Memory, DataDir: a.opts.DataDir, LogsDir: a.opts.LogsDir,
				BootTime: boot, MaxPods: int64(a.opts.Config.MaxPods),
				Cluster: server.ClusterFacts{Domain: a.opts.ClusterDomain, CgroupRoot: a.opts.CgroupRoot, Manifests: a.opts.ManifestDir}}
			for _, ip := range a.opts.ClusterDNS {
				n.Cluster.DNS = append(n.Cluster.DNS, ip.String())
			}
			return n
		},
	})
	return s.Serve(ctx, a.opts.Listener)
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
