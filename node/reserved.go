package node

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"clipper/node/cgroup"
	"clipper/node/machine"
	"clipper/node/reserve"
	"clipper/node/status"
)

// reserveFrom takes what the configuration keeps from pods out of what the node has.
func (o *Options) reserveFrom(f *status.Facts) (reserve.Reservation, error) {
	cpus, err := machine.CPUs()
	if err != nil {
		return reserve.Reservation{}, err
	}
	if perCore := int64(o.Config.PodsPerCore); perCore > 0 {
		f.MaxPods = min(f.MaxPods, perCore*int64(f.Machine.CPUs))
	}
	r, err := reserve.Parse(o.Config, cpus)
	if err != nil {
		return r, fmt.Errorf("kubelet configuration: %w", err)
	}
	f.Reserved = r.Total(f.Capacity())
	return r, r.Check(f.Capacity())
}

// openCgroups finds the machine's control groups and returns what the node decides about those of its pods.
func (a *Agent) openCgroups(m status.Machine) (cgroup.Settings, error) {
	tree, err := cgroup.OpenTree(a.opts.CgroupRoot)
	if err != nil {
		slog.Warn("Pods will not be told apart by quality of service", "err", err)
		tree = &cgroup.Tree{}
	} else {
		a.tree = tree
	}
	return tree.Settings(a.opts.Config, m.Memory, m.Swap)
}

// nodeEvent records an event about the node. Events of nodes have carried the name as UID ever since, and
// tools look for that.
func (a *Agent) nodeEvent(eventType, reason, format string, args ...any) {
	a.recorder.EventAt(a.nodeRef(), eventType, reason, format, args...)
}

func (a *Agent) nodeRef() corev1.ObjectReference {
	return corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: a.opts.NodeName, UID: types.UID(a.opts.NodeName)}
}

// enforceRetry is the pause after pods used more than the limit that was to be set. Upstream's figure.
const enforceRetry = time.Minute

// enforceAllocatable limits what all pods together can have, if need be once they use less than that.
func (a *Agent) enforceAllocatable(ctx context.Context) error {
	if a.tree == nil {
		return nil
	}
	limits := cgroup.LimitsOf(a.enforceable(), reserve.PIDs)
	for {
		err := a.tree.Enforce(limits)
		if err == nil {
			a.nodeEvent(corev1.EventTypeNormal, "NodeAllocatableEnforced", "Updated Node Allocatable limit across pods")
			return nil
		}
		a.nodeEvent(corev1.EventTypeWarning, "FailedNodeAllocatableEnforcement", "Failed to update Node Allocatable Limits %q: %v", a.opts.CgroupRoot, err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(enforceRetry):
		}
	}
}

// enforceable returns what the kernel lets all pods together have: all there is, unless the configuration has
// reservations enforced.
func (a *Agent) enforceable() corev1.ResourceList {
	facts := a.reporter.Facts()
	capacity := facts.Capacity()
	if _, most, err := machine.Tasks(); err == nil {
		capacity[reserve.PIDs] = *resource.NewQuantity(most, resource.DecimalSI)
	}
	if slices.Contains(a.opts.Config.EnforceNodeAllocatable, "pods") {
		return a.reservation.Enforceable(capacity)
	}
	return capacity
}

// enforceReserved limits the system's own processes to what is reserved for them, where that is asked for.
func (a *Agent) enforceReserved() error {
	c := a.opts.Config
	for _, r := range []struct {
		key, name, group string
		reserved         corev1.ResourceList
	}{
		{"system-reserved", "System", c.SystemReservedCgroup, a.reservation.System},
		{"kube-reserved", "Kube", c.KubeReservedCgroup, a.reservation.Kube},
	} {
		limits, kind := cgroup.LimitsOf(r.reserved, reserve.PIDs), r.name+" Reserved"
		if slices.Contains(c.EnforceNodeAllocatable, r.key+"-compressible") {
			limits, kind = cgroup.Limits{CPUShares: limits.CPUShares}, r.name+" Reserved Compressible"
		} else if !slices.Contains(c.EnforceNodeAllocatable, r.key) {
			continue
		}
		if a.tree == nil {
			return fmt.Errorf("enforce limits of cgroup %q: this machine has no control groups", r.group)
		}
		if err := a.tree.EnforceExisting(r.group, limits); err != nil {
			err = fmt.Errorf("Failed to enforce %s Cgroup Limits on %q: %w", kind, r.group, err) //nolint:staticcheck // upstream's words
			a.nodeEvent(corev1.EventTypeWarning, "FailedNodeAllocatableEnforcement", "%v", err)
			return err
		}
		a.nodeEvent(corev1.EventTypeNormal, "NodeAllocatableEnforced", "Updated limits on %s reserved cgroup %v", map[string]string{"System": "system", "Kube": "kube"}[r.name], r.group)
	}
	return nil
}
