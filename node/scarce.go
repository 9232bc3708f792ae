package node

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
	"clipper/catalogue/core/podspec"
	"clipper/node/devices"
	"clipper/node/dra"
	"clipper/node/podresources"
	"clipper/node/resources"
	"clipper/node/status"
)

// scarce is what hands out what the node has few of.
type scarce struct {
	*resources.Manager
	devices *devices.Manager
	claims  *dra.Manager
	asked   *podresources.Metrics
	joined  *atomic.Bool // the node has told what it has once
}

// openScarce makes it, with what a former agent has handed out.
func (a *Agent) openScarce(f *status.Facts) error {
	o, s := &a.opts, &a.scarce
	var err error
	s.devices, err = devices.New(devices.Config{Dir: o.RootDir, Changed: func() { a.reporter.Changed() }, Sick: a.devicesChanged, Nodes: func() []int {
		m, err := resources.Machine(uint64(f.Machine.Memory))
		if err != nil {
			slog.Warn("The machine's NUMA nodes are not known", "err", err)
			return nil
		}
		return m.NodeIDs()
	}})
	if err != nil {
		return err
	}
	s.claims, err = dra.New(dra.Config{Client: o.Client, NodeName: o.NodeName, Dir: o.RootDir, Sick: a.devicesChanged, Active: a.isActive})
	if err != nil {
		return err
	}
	s.Manager, err = resources.New(resources.Config{Dir: o.RootDir, Settings: o.Config, Reserved: f.Reserved, CPUs: a.reservation.CPUs,
		Memory: uint64(f.Machine.Memory), Devices: s.devices, Claims: s.claims, Runtime: o.Runtime})
	if err != nil {
		return err
	}
	s.asked, s.joined = podresources.NewMetrics(), &atomic.Bool{}
	a.collectors = slices.Concat(a.collectors, s.devices.Collectors(), s.claims.Collectors(), s.Collectors(), s.asked.Collectors())
	return nil
}

// runScarce keeps it going, and tells who asks, until ctx ends.
func (a *Agent) runScarce(ctx context.Context) error {
	a.scarce.joined.Store(true)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.scarce.devices.Run(ctx) })
	group.Go(func() error { return a.scarce.claims.Run(ctx) })
	group.Go(func() error { return a.scarce.Manager.Run(ctx) })
	group.Go(func() error { return podresources.Serve(ctx, a.opts.RootDir, holdings{a}, a.scarce.asked) })
	return group.Wait()
}

// holdings is what podresources tells of.
type holdings struct{ *Agent }

func (h holdings) Pods() []*corev1.Pod {
	var out []*corev1.Pod
	for _, p := range h.pods() {
		if obj, st := p.Status(); st.Phase != corev1.PodSucceeded && st.Phase != corev1.PodFailed {
			out = append(out, obj)
		}
	}
	return out
}

func (h holdings) Assigned(pod *corev1.Pod, c *corev1.Container) podresources.Assignment {
	cpus, memory := h.scarce.CPUsOf(pod.UID, c.Name)
	return podresources.Assignment{Devices: h.scarce.devices.Of(pod.UID, c.Name), CPUs: cpus, Memory: memory, Claims: h.scarce.claims.Used(pod, c)}
}

func (h holdings) Allocatable() podresources.Assignment {
	cpus, memory := h.scarce.Allocatable()
	return podresources.Assignment{Devices: h.scarce.devices.Allocatable(), CPUs: cpus, Memory: memory}
}

// isActive reports whether a pod is one of this node's.
func (a *Agent) isActive(uid types.UID) bool {
	if h := a.worker(uid); h != nil {
		return true
	}
	for _, p := range api.Pods.View(a.opts.Client).ByIndex(api.ByNode, a.opts.NodeName) {
		if p.UID == uid {
			return true
		}
	}
	return false
}

func (a *Agent) devicesChanged(pods []types.UID) {
	for _, uid := range pods {
		if h := a.worker(uid); h != nil {
			h.DevicesChanged()
		}
	}
}

// countDevices puts the devices of plug-ins into the node's status. Those that have been gone for long count as
// none, so that whoever looks sees that there were some.
func (a *Agent) countDevices(s *corev1.NodeStatus) {
	a.resetDevices(s)
	for name, c := range a.scarce.devices.Counts() {
		s.Capacity[name] = *quantity.NewQuantity(c.All, quantity.DecimalSI)
		s.Allocatable[name] = *quantity.NewQuantity(c.Healthy, quantity.DecimalSI)
	}
}

// resetDevices sets to nothing what devices the node's object tells of that no agent here knows: the machine has been
// set up anew. An administrator who counts by hand does so again.
func (a *Agent) resetDevices(s *corev1.NodeStatus) {
	if a.scarce.joined.Load() || !a.scarce.devices.Fresh() {
		return
	}
	for name := range s.Capacity {
		if podspec.IsExtended(name) {
			s.Capacity[name], s.Allocatable[name] = quantity.Quantity{}, quantity.Quantity{}
		}
	}
}

// sweepScarce takes back what pods have that are gone.
func (a *Agent) sweepScarce(known map[types.UID]bool) {
	if err := a.scarce.Sweep(func(uid types.UID) bool { return known[uid] }); err != nil {
		slog.Warn("Taking back what pods have that are gone failed", "err", fmt.Errorf("node %s: %w", a.opts.NodeName, err))
	}
}
