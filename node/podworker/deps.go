package podworker

import (
	"context"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
	"clipper/node/cgroup"
	"clipper/node/logs"
	"clipper/node/network"
	"clipper/node/podworker/environment"
	"clipper/node/podworker/lifecycle"
	"clipper/node/podworker/naming"
	"clipper/node/probe"
	"clipper/node/pull"
	"clipper/node/runtime"
	"clipper/node/userns/ranges"
)

// Volumes makes a pod's volumes available on the node. Package node/volume is the built-in way.
type Volumes interface {
	// Mount sets up every volume of the pod, again without harm. Its error may join several, one per
	// volume, worded for a FailedMount event; a Refusal turns the pod away.
	Mount(ctx context.Context, pod *corev1.Pod) error
	// Unmount undoes Mount, also after a crash in the middle of it.
	Unmount(ctx context.Context, pod types.UID) error
	// Path returns where a volume is on the host, with m's subPath (already expanded) safely resolved.
	Path(ctx context.Context, pod *corev1.Pod, container string, m *corev1.VolumeMount, subPath string) (string, error)
	// Device returns the block device behind a volume, and whether it may only be read.
	Device(pod *corev1.Pod, volume string) (path string, readOnly bool, err error)
	// Groups returns the supplemental groups that the pod's volumes demand.
	Groups(pod *corev1.Pod) []int64
}

// A Puller makes sure of images. Package node/pull is the one there is.
type Puller interface {
	Ensure(ctx context.Context, r pull.Request) *pull.Failure
}

// A Recorder takes events.
type Recorder interface {
	EventAt(ref corev1.ObjectReference, eventType, reason, format string, args ...any)
}

// Config is what all workers of a node share. All fields are required unless said otherwise.
type Config struct {
	Client   api.Client
	Runtime  runtime.Runtime
	Images   runtime.Images
	Puller   Puller
	Network  network.Network
	Volumes  Volumes
	Objects  environment.Objects
	Recorder Recorder

	Probes *probe.Metrics // nil: checks are not counted

	RuntimeName string // prefix of container IDs in the API; default "clipper"

	NodeName string
	NodeIPs  []netip.Addr // primary first
	// Allocatable is what downward-API limits default to.
	Allocatable func() corev1.ResourceList
	Cgroups     cgroup.Settings
	PodsDir     string // one directory per pod, by UID
	LogsDir     string // the root of the pods' logs
	LogLinks    logs.Links
	CgroupRoot  string

	ClusterDNS    []netip.Addr // may be empty: pods then use the node's resolver
	ClusterDomain string
	ResolvConf    string // the node's resolver file

	// RestartPause is the longest one between restarts of a failing container. Default: five minutes.
	RestartPause time.Duration
	// Unconfined gives containers that name no seccomp profile none, in place of the runtime's default.
	Unconfined bool
	// Allocator hands out what is scarce. Optional: nothing is.
	Allocator Allocator
	// UserNamespaces remembers whose IDs are whose (hostUsers: false).
	UserNamespaces *ranges.Allocator
	// Resizable says why the node cannot grant what the pod's spec asks for: a reason and a message of the
	// condition PodResizePending; "" if it can. Optional: it always can.
	Resizable func(*corev1.Pod) (reason, message string)
}

func (c *Config) restartPause() time.Duration {
	if c.RestartPause == 0 {
		return lifecycle.MaxBackoff
	}
	return c.RestartPause
}

// environment returns where containers' variables come from.
func (c *Config) environment() *environment.Node {
	return &environment.Node{Objects: c.Objects, Volumes: c.Volumes, IPs: c.NodeIPs, Allocatable: c.Allocatable}
}

// naming returns what names pods have.
func (c *Config) naming() *naming.Node {
	return &naming.Node{ClusterDNS: c.ClusterDNS, ClusterDomain: c.ClusterDomain, ResolvConf: c.ResolvConf}
}

// podIP returns the address by which the node reaches a pod: its own, or the node's for one on the node's network.
func (c *Config) podIP(ips []netip.Addr) string {
	if len(ips) == 0 {
		ips = c.NodeIPs
	}
	if len(ips) == 0 {
		return ""
	}
	return ips[0].String()
}
