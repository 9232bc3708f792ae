package cli

import (
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"clipper/daemon"
)

// datastoreFlags adds the flags that say where a server keeps the cluster's state. Those of an etcd cluster of the
// user's have the names that kube-apiserver gives them.
func datastoreFlags(cmd *cobra.Command, o *daemon.DatastoreOptions) {
	f := cmd.Flags()
	f.StringSliceVar(&o.Servers, "etcd-servers", nil, "keep the state in this etcd cluster: URLs, comma separated; default: in the data directory. What is stored there goes to the cluster, which must be empty")
	f.StringSliceVar(&o.Overrides, "etcd-servers-overrides", nil, "keep built-in resources in other etcd clusters: group/resource#servers, comma separated, where servers are URLs, semicolon separated, such as /events#https://etcd4:2379;https://etcd5:2379")
	f.StringVar(&o.CAFile, "etcd-cafile", "", "certificate authority of --etcd-servers")
	f.StringVar(&o.CertFile, "etcd-certfile", "", "client certificate for --etcd-servers")
	f.StringVar(&o.KeyFile, "etcd-keyfile", "", "key of --etcd-certfile")
	f.StringVar(&o.Prefix, "etcd-prefix", o.Prefix, "prefix of all keys in etcd")
	f.DurationVar(&o.Compaction, "etcd-compaction-interval", o.Compaction, "how often etcd's history is thrown away; 0 for never")
	f.DurationVar(&o.HealthTimeout, "etcd-healthcheck-timeout", o.HealthTimeout, "how long /healthz and /livez wait for etcd")
	f.DurationVar(&o.ReadyTimeout, "etcd-readycheck-timeout", o.ReadyTimeout, "how long /readyz waits for etcd")
	f.Var((*seconds)(&o.LeaseReuse), "lease-reuse-duration-seconds", "how long events that are written one after the other share a lease in etcd, in seconds")
	f.StringVar(&o.Backend, "storage-backend", "", "etcd3: refuse to start without an etcd; default: what the other flags say")
	f.StringVar(&o.MediaType, "storage-media-type", o.MediaType, "how built-in objects are written: application/json or application/vnd.kubernetes.protobuf; both are read, and custom resources are always in JSON")
	f.Var((*hidden)(&o.HideCounts), "etcd-count-metric-poll-period", "0 takes the numbers and sizes of stored objects out of /metrics; with any other time they are those of the moment")
	f.Var((*hidden)(&o.HideSize), "etcd-db-metric-poll-interval", "0 takes the size of the database out of /metrics; with any other time it is that of the moment")
	f.BoolVar(&o.ClusterInit, "cluster-init", false, "keep the state in an etcd cluster of the servers themselves, of which this is the first; what it has stored alone goes there")
	f.BoolVar(&o.ClusterEnd, "cluster-end", false, "take the state out of the etcd cluster of which this server is the last member, or out of --etcd-servers, and run alone")
	f.StringVar(&o.Join, "join", "", "become a further server of the cluster that the server at this address belongs to; --etcd-servers must be given too if it was there")
	f.StringVar(&o.Token, "token", os.Getenv("CLIPPER_TOKEN"), "token for the first start with --join, from clipper token create --server; also read from CLIPPER_TOKEN")
}

// seconds is a duration that is given as a whole number of seconds.
type seconds time.Duration

// String implements pflag.Value.
func (s *seconds) String() string { return strconv.FormatInt(int64(time.Duration(*s)/time.Second), 10) }

// Set implements pflag.Value.
func (s *seconds) Set(text string) error {
	n, err := strconv.ParseInt(text, 10, 32)
	*s = seconds(time.Duration(n) * time.Second)
	return err
}

// Type implements pflag.Value.
func (s *seconds) Type() string { return "int" }

// hidden is a metric that a period of 0 hides: those of upstream are out of date by up to the period, ours never are.
type hidden bool

// String implements pflag.Value.
func (h *hidden) String() string {
	if *h {
		return "0s"
	}
	return ""
}

// Set implements pflag.Value.
func (h *hidden) Set(text string) error {
	period, err := time.ParseDuration(text)
	*h = period == 0
	return err
}

// Type implements pflag.Value.
func (h *hidden) Type() string { return "duration" }
