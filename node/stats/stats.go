// Package stats finds out what a node, its pods and their containers use: processor, memory, disks, network,
// time spent waiting. Nothing is measured before somebody asks. A Collector makes the summary that a v1.36
// kubelet gives at /stats/summary; the other forms in which metrics are told derive from it, or from Groups.
package stats

import (
	"context"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"clipper/api/containers"
	"clipper/node/runtime"
)

// A Pod is what is needed of a pod of this node.
type Pod interface {
	// Status returns the object and the status as the node knows it.
	Status() (*corev1.Pod, corev1.PodStatus)
	// Container returns the newest and the previous attempt of a container; either may be nil.
	Container(name string) (current, previous *runtime.ContainerStatus)
}

// Config says where figures come from. Fields without a default are required.
type Config struct {
	NodeName   string
	Memory     int64 // of the machine, in bytes
	BootTime   time.Time
	DataDir    string // its file system is the node's
	ImagesDir  string // default: DataDir
	CgroupRoot string // of pods
	ShimCgroup string // of what parents the containers; "" if that is not ours
	Pods       func() []Pod
	Runtime    runtime.Runtime
	// Volumes returns what the volumes of a pod hold. Nil: nobody knows.
	Volumes func(pod types.UID) []statsapi.VolumeStats
}

// A Collector measures when it is asked to.
type Collector struct {
	cfg   Config
	rates rates
}

// New returns a collector. It measures nothing yet.
func New(c Config) *Collector {
	if c.ImagesDir == "" {
		c.ImagesDir = c.DataDir
	}
	return &Collector{cfg: c}
}

// usage is what one pod and its containers use, as the runtime tells it.
type usage struct {
	pod        *corev1.Pod
	status     corev1.PodStatus
	sandbox    runtime.Stats
	known      bool // whether there is something in sandbox
	containers []containerUsage
}

type containerUsage struct {
	*runtime.ContainerStatus
	spec  *corev1.Container
	stats runtime.Stats
}

// pods asks the runtime about every running container.
func (c *Collector) pods(ctx context.Context) []usage {
	var out []usage
	for _, p := range c.cfg.Pods() {
		obj, st := p.Status()
		u := usage{pod: obj, status: st, containers: running(p, obj)}
		if len(u.containers) == 0 {
			continue
		}
		if s, err := c.cfg.Runtime.SandboxStats(ctx, u.containers[0].SandboxID); err == nil {
			u.sandbox, u.known = s, true
		}
		for i := range u.containers {
			// One at a time: a container that ends meanwhile must not hide the others.
			if s, err := c.cfg.Runtime.Stats(ctx, u.containers[i].ID); err == nil && len(s) == 1 {
				u.containers[i].stats = s[0]
			} else if err != nil {
				slog.Debug("A container's resource use is not known", "container", u.containers[i].ID, "err", err)
			}
		}
		out = append(out, u)
	}
	return out
}

// running returns the containers of a pod that run, with what the pod says of each.
func running(p Pod, obj *corev1.Pod) []containerUsage {
	var out []containerUsage
	for spec := range containers.All(&obj.Spec) {
		if cur, _ := p.Container(spec.Name); cur != nil && cur.State == runtime.Running {
			out = append(out, containerUsage{ContainerStatus: cur, spec: spec})
		}
	}
	return out
}

// Volumes returns what the volumes of a pod hold, as far as anybody knows.
func (c *Collector) Volumes(pod types.UID) []statsapi.VolumeStats {
	if c.cfg.Volumes == nil {
		return nil
	}
	return c.cfg.Volumes(pod)
}
