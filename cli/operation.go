package cli

import (
	"errors"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/component-base/cli/flag"

	"clipper/daemon"
)

// defaultMinWatch is upstream's.
const defaultMinWatch = 30 * time.Minute

// operationFlags adds the flags by which a server is operated. They have the names that kube-apiserver
// gives them.
func operationFlags(cmd *cobra.Command, o *daemon.OperationOptions) {
	f := cmd.Flags()
	f.DurationVar(&o.Limits.Request, "request-timeout", time.Minute, "longest time for a request that is no watch or stream")
	o.Limits.MinWatch = defaultMinWatch
	f.Var((*seconds)(&o.Limits.MinWatch), "min-request-timeout", "watches end after one to two times so many seconds")
	f.BoolVar(&o.Fairness, "enable-priority-and-fairness", o.Fairness, "share the server by priority level and flow")
	f.IntVar(&o.MaxReads, "max-requests-inflight", o.MaxReads, "reads that are served at the same time; with priority and fairness, part of the seats to share")
	f.IntVar(&o.MaxWrites, "max-mutating-requests-inflight", o.MaxWrites, "writes that are served at the same time; with priority and fairness, part of the seats to share")
	f.Float64Var(&o.Limits.GoAwayChance, "goaway-chance", 0, "probability that an HTTP/2 client is asked to connect anew: spreads clients over servers; at most 0.02")
	f.IntVar(&o.Limits.MaxStreams, "http2-max-streams-per-connection", 0, "concurrent requests that a client may make over one HTTP/2 connection; 0: 100, and 1000 for a client that has been authenticated")
	f.DurationVar(&o.Limits.ShutdownDelay, "shutdown-delay-duration", 0, "how long to go on serving after /readyz has begun to fail")
	f.BoolVar(&o.Limits.ShutdownRetryAfter, "shutdown-send-retry-after", false, "answer requests that come during shutdown with 429 and Retry-After in place of 503")
	f.DurationVar(&o.Limits.WatchGrace, "shutdown-watch-termination-grace-period", 0, "how long watches are given, at most, to end one after the other on shutdown; 0: they end together")
	f.IntVar(&o.DeleteWorkers, "delete-collection-workers", o.DeleteWorkers, "objects of a collection that are deleted at a time")
	f.DurationVar(&o.Limits.LivezGrace, "livez-grace-period", 0, "how long after the start /livez takes it that parts which are not ready will be")
	f.Int64Var(&o.Limits.StreamRate, "max-connection-bytes-per-sec", 0, "bytes a second that a stream to a pod, or a proxied connection that is upgraded, may move; 0: no limit")
	f.StringSliceVar(&o.NodeAddresses, "kubelet-preferred-address-types", nil, "types of addresses at which nodes are spoken to, best first: InternalIP, ExternalIP, Hostname, InternalDNS, ExternalDNS; default: the first three")
	f.BoolVar(&o.Contention, "contention-profiling", false, "with --profiling, record where goroutines wait for each other")
	f.BoolFunc("allow-privileged", "let pods have privileged containers (default true)", negated(&o.Unprivileged))
	f.Func("endpoint-reconciler-type", "who writes the endpoints of the service default/kubernetes: lease is the servers, none is somebody else (default lease)", func(s string) error {
		if s != "lease" && s != "none" {
			return errors.New("there are lease and none")
		}
		o.Unannounced = s == "none"
		return nil
	})
	o.Metrics.AddFlags(f)
	always(cmd, "enable-garbage-collector", "dependents are deleted after their owners")
	watchCacheFlags(cmd, &o.WatchCache)
	f.StringVar(&o.DebugSocket, "debug-socket-path", "", "Unix socket at which /debug is served to everybody who may connect to it")
	f.BoolVar(&o.Profiling, "profiling", o.Profiling, "serve /debug/pprof and /debug/flags")
	f.DurationVar(&o.EventTTL, "event-ttl", o.EventTTL, "how long events stay after they were last written")
	f.StringVar(&o.Tracing, "tracing-config-file", "", "TracingConfiguration (apiserver.config.k8s.io): which requests become spans, and where those are sent")
	f.Var(flag.NewColonSeparatedMultimapStringStringAllowDefaultEmptyKey(&o.FeatureGates), "feature-gates", "features to switch: name=true|false, as kube-apiserver's; of those that are off by default, CBORServingAndStorage can be had")
	f.Var((*flag.ConfigurationMap)(&o.RuntimeConfig), "runtime-config", "group/version=true|false, group/version/resource=true|false, or api/all, api/ga, api/beta, api/alpha: what is offered to clients; alpha and beta versions cannot be had")
	auditFlags(f, &o.Audit)
	o.Flags = func() map[string]string {
		shown := map[string]string{}
		f.VisitAll(func(flag *pflag.Flag) { shown[flag.Name] = flag.Value.String() })
		return shown
	}
}

// always adds a flag of kube-apiserver's for what this server cannot do without: it takes true alone.
func always(cmd *cobra.Command, name, what string) {
	cmd.Flags().BoolFunc(name, what+"; true is all that can be had", func(s string) error {
		on, err := strconv.ParseBool(s)
		if err == nil && !on {
			return errAlways
		}
		return err
	})
}

// negated sets the opposite of a flag's value.
func negated(to *bool) func(string) error {
	return func(s string) error {
		b, err := strconv.ParseBool(s)
		*to = err == nil && !b
		return err
	}
}
