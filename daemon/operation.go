package daemon

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/component-base/metrics"

	"clipper/apiserver"
	"clipper/apiserver/audit"
	"clipper/apiserver/fairness"
	"clipper/apiserver/feature"
	"clipper/apiserver/pipeline"
	"clipper/apiserver/presence"
	"clipper/apiserver/resolve"
	"clipper/apiserver/tracing"
	"clipper/catalogue/core/podspec"
)

// OperationOptions say how a server protects itself, and what it tells of its work.
type OperationOptions struct {
	Limits       apiserver.Limits
	MaxReads     int  // served at the same time; with fairness, the sum of both is the number of seats
	MaxWrites    int  // served at the same time
	Fairness     bool // share seats by priority level and flow
	Profiling    bool
	Contention   bool   // with Profiling: record where goroutines wait for each other
	Unprivileged bool   // pods may not have privileged containers
	Unannounced  bool   // the server's address does not go into the endpoints of default/kubernetes
	DebugSocket  string // serves /debug without asking who it is; "": there is none
	// DeleteWorkers is how many objects of a collection are deleted at a time.
	DeleteWorkers int
	WatchCache    pipeline.WatchCache
	// NodeAddresses are the types of addresses at which nodes are spoken to, best first; none: upstream's.
	NodeAddresses []string
	Audit         audit.Options
	Metrics       metrics.Options // what of them is shown
	Tracing       string          // file; "": no spans
	EventTTL      time.Duration   // how long events stay after they were last written
	// RuntimeConfig switches group versions and resources on and off: group/version=true|false and the like.
	RuntimeConfig map[string]string
	// FeatureGates are lists of name=true|false by component; "" is kube.
	FeatureGates map[string][]string

	// Flags are shown at /flagz.
	Flags func() map[string]string
}

// Upstream's figures.
const (
	defaultMaxReads  = 400
	defaultMaxWrites = 200
	defaultEventTTL  = time.Hour
)

func defaultOperation() OperationOptions {
	return OperationOptions{MaxReads: defaultMaxReads, MaxWrites: defaultMaxWrites, Fairness: true, Profiling: true, Audit: audit.DefaultOptions(), EventTTL: defaultEventTTL, DeleteWorkers: pipeline.DefaultDeleteWorkers, RuntimeConfig: map[string]string{}}
}

func (o *OperationOptions) complete() error {
	faults := append(o.Metrics.Validate(), o.Audit.Validate())
	if err := moveGates(o.FeatureGates); err != nil {
		faults = append(faults, fmt.Errorf("--feature-gates: %w", err))
	}
	if o.MaxReads < 0 || o.MaxWrites < 0 {
		faults = append(faults, fmt.Errorf("--max-requests-inflight %d, --max-mutating-requests-inflight %d: neither may be negative", o.MaxReads, o.MaxWrites))
	}
	if o.Fairness && o.MaxReads+o.MaxWrites <= 0 {
		faults = append(faults, errors.New("--max-requests-inflight and --max-mutating-requests-inflight are 0: --enable-priority-and-fairness needs seats to share"))
	}
	if c := o.Limits.GoAwayChance; c < 0 || c > 0.02 {
		faults = append(faults, fmt.Errorf("--goaway-chance %v: not from 0 to 0.02", c))
	}
	if n := o.Limits.MaxStreams; n < 0 || n > math.MaxInt32 {
		faults = append(faults, fmt.Errorf("--http2-max-streams-per-connection %d: give a number up to 2147483647, or 0 for the default", n))
	}
	if o.EventTTL < time.Second {
		faults = append(faults, fmt.Errorf("--event-ttl %v: give at least a second", o.EventTTL))
	}
	if o.Limits.ShutdownDelay < 0 || o.Limits.Request < 0 || o.Limits.MinWatch < 0 {
		faults = append(faults, errors.New("--shutdown-delay-duration, --request-timeout and --min-request-timeout must not be negative"))
	}
	if o.Limits.WatchGrace < 0 {
		faults = append(faults, errors.New("shutdown-watch-termination-grace-period, if provided, can not be a negative value"))
	}
	if o.Limits.LivezGrace < 0 {
		faults = append(faults, errors.New("--livez-grace-period can not be a negative value"))
	}
	if o.Limits.StreamRate < 0 {
		faults = append(faults, fmt.Errorf("--max-connection-bytes-per-sec %d: must not be negative", o.Limits.StreamRate))
	}
	for _, t := range o.NodeAddresses {
		if !slices.Contains(addressTypes, corev1.NodeAddressType(t)) {
			faults = append(faults, fmt.Errorf("--kubelet-preferred-address-types %q: there are %v", t, addressTypes))
		}
	}
	return errors.Join(faults...)
}

var addressTypes = []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP, corev1.NodeHostName, corev1.NodeInternalDNS, corev1.NodeExternalDNS}

// preference is NodeAddresses as those who call nodes want it.
func (o *OperationOptions) preference() resolve.Preference {
	out := make(resolve.Preference, len(o.NodeAddresses))
	for i, t := range o.NodeAddresses {
		out[i] = corev1.NodeAddressType(t)
	}
	return out
}

// moveGates makes all feature gates known and moves those that are to be moved. The gates are the process's.
func moveGates(wanted map[string][]string) error {
	if err := feature.Register(feature.Gate); err != nil {
		return err
	}
	return feature.Set(feature.Gate, wanted)
}

// operate adds to the API server's options what keeps it in order.
func (cp *controlPlane) operate(ctx context.Context, o *apiserver.Options) (err error) {
	operation := cp.options.Operation
	if operation.Tracing != "" {
		if o.Tracing, err = tracing.Open(ctx, operation.Tracing, cp.options.Node.Name); err != nil {
			return err
		}
	}
	if operation.Profiling && operation.Contention {
		runtime.SetBlockProfileRate(1)
	}
	o.Audit, o.NodeAddresses = cp.auditor, operation.preference()
	o.Features = apiserver.Features{
		CBOR:        feature.Gate.Enabled(features.CBORServingAndStorage),
		Plain:       !feature.Gate.Enabled(features.APIResponseCompression),
		NoWatchList: !feature.Gate.Enabled(features.WatchList),
	}
	o.Limits, o.Profiling, o.Flags = operation.Limits, operation.Profiling, operation.Flags
	podspec.AllowPrivileged(!operation.Unprivileged)
	if o.Metrics, err = shownMetrics(&operation.Metrics); err != nil {
		return err
	}
	o.NodeTimeout = cp.options.Callouts.KubeletTimeout
	o.HideCounts, o.DebugListener = cp.options.Datastore.HideCounts, cp.debug
	o.Checks = cp.storeChecks("etcd", "etcd-override", cp.options.Datastore.HealthTimeout)
	o.OutsideChecks = cp.encryptionChecks()
	o.ReadyChecks = cp.storeChecks("etcd-readiness", "etcd-override-readiness", cp.options.Datastore.ReadyTimeout)
	defer func() { o.Hooks = cp.hooks() }()
	if !operation.Fairness {
		o.InFlight = &fairness.Limit{Reads: int64(operation.MaxReads), Writes: int64(operation.MaxWrites)}
		return nil
	}
	cp.fairness = fairness.New(fairness.Config{
		Client:  cp.client,
		Seats:   operation.MaxReads + operation.MaxWrites,
		Objects: objects(cp.pipeline),
	})
	o.Fairness = cp.fairness
	o.Collectors = append(o.Collectors, cp.fairness)
	return nil
}

// objects tells how many objects of a resource there are, and how large they are on average.
func objects(p *pipeline.Pipeline) func(group, version, resource string) (count, size int) {
	return func(group, version, resource string) (count, size int) {
		kind := p.Table().Lookup(group, version, resource)
		if kind == nil || kind.Prefix == "" {
			return 0, 0
		}
		snap := p.Snapshot(&pipeline.Request{Resource: kind.Resource})
		return snap.Len(""), snap.MeanSize()
	}
}

// timeToLive says how long objects stay that nobody writes to again, by storage prefix.
func (o *OperationOptions) timeToLive() map[string]time.Duration {
	return map[string]time.Duration{"events": o.EventTTL, presence.MasterLeases: presence.MasterLeaseTTL}
}

// runOperation starts what operate has made, and what tells the cluster of this server.
func (cp *controlPlane) runOperation(ctx context.Context, group *errgroup.Group) {
	if cp.fairness != nil {
		group.Go(func() error { return cp.fairness.Run(ctx) })
	}
	announcer := presence.New(presence.Config{
		Client: cp.client, Store: cp.store, Host: cp.options.Node.Name, Address: cp.advertise,
		Shared: cp.shared && !cp.options.Operation.Unannounced && !cp.advertise.Addr().IsLoopback(), // the API refuses loopback endpoints
	})
	group.Go(func() error { return announcer.Run(ctx) })
}
