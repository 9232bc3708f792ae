package dra

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
	drahealth "k8s.io/kubelet/pkg/apis/dra-health/v1alpha1"
)

// How long a driver's word on a device counts unless it says otherwise, and the pause after a stream that ended.
// Upstream's figures.
const (
	healthLasts = 30 * time.Second
	healthRetry = 5 * time.Second
)

// health is a driver's word on a device.
type health struct {
	state   corev1.ResourceHealthStatus
	message string
	until   time.Time
}

var healthStates = map[drahealth.HealthStatus]corev1.ResourceHealthStatus{
	drahealth.HealthStatus_UNKNOWN:   corev1.ResourceHealthStatusUnknown,
	drahealth.HealthStatus_HEALTHY:   corev1.ResourceHealthStatusHealthy,
	drahealth.HealthStatus_UNHEALTHY: corev1.ResourceHealthStatusUnhealthy,
}

// watchHealth takes what a driver says of its devices' health, if it says anything.
func (m *Manager) watchHealth(ctx context.Context, d *driver) {
	for {
		err := m.followHealth(ctx, d)
		m.setHealth(d.name, nil)
		if status.Code(err) == codes.Unimplemented {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(healthRetry):
			slog.Debug("Asking a DRA driver for its devices' health again", "driver", d.name, "err", err)
		}
	}
}

func (m *Manager) followHealth(ctx context.Context, d *driver) error {
	stream, err := drahealth.NewDRAResourceHealthClient(d.conn).NodeWatchResources(ctx, &drahealth.NodeWatchResourcesRequest{})
	for err == nil {
		var answer *drahealth.NodeWatchResourcesResponse
		if answer, err = stream.Recv(); err == nil {
			m.setHealth(d.name, answer.Devices)
		}
	}
	return err
}

// setHealth notes what a driver says, all of it, and tells of pods for whose devices it is news.
func (m *Manager) setHealth(name string, list []*drahealth.DeviceHealth) {
	now := map[deviceKey]health{}
	for _, d := range list {
		lasts := healthLasts
		if s := d.GetHealthCheckTimeoutSeconds(); s > 0 {
			lasts = time.Duration(s) * time.Second
		}
		now[deviceKey{d.GetDevice().GetPoolName(), d.GetDevice().GetDeviceName()}] = health{
			state: healthStates[d.GetHealth()], message: truncated(d.GetMessage()), until: time.Unix(d.GetLastUpdatedTime(), 0).Add(lasts)}
	}
	m.mu.Lock()
	before := m.health[name]
	m.health[name] = now
	sick := sets.New[types.UID]()
	for _, c := range m.claims {
		if c.DriverState[name] == nil {
			continue
		}
		for _, d := range c.DriverState[name].Devices {
			k := deviceKey{d.PoolName, d.DeviceName}
			if before[k].state != now[k].state || before[k].message != now[k].message {
				for uid := range c.PodUIDs {
					sick.Insert(types.UID(uid))
				}
			}
		}
	}
	m.mu.Unlock()
	if len(sick) > 0 {
		m.cfg.Sick(sick.UnsortedList())
	}
}

func truncated(message string) string {
	if len(message) <= corev1.ResourceHealthMessageMaxLength {
		return message
	}
	return message[:corev1.ResourceHealthMessageMaxLength-len("...")] + "..."
}

// Health tells how the devices of a container's claims are.
func (m *Manager) Health(pod *corev1.Pod, c *corev1.Container) []corev1.ResourceStatus {
	list, err := uses(pod, c)
	if err != nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []corev1.ResourceStatus
	for _, u := range list {
		have := m.claims[u.claim]
		if have == nil || u.entry == "" {
			continue
		}
		s := corev1.ResourceStatus{Name: corev1.ResourceName("claim:" + u.entry)}
		if u.request != "" {
			s.Name += corev1.ResourceName("/" + u.request)
		}
		seen := sets.New[corev1.ResourceID]()
		have.each(resourceclaim.BaseRequestRef(u.request), func(driver string, d *device) {
			h := m.healthOf(driver, d)
			if !seen.Has(h.ResourceID) {
				seen.Insert(h.ResourceID)
				s.Resources = append(s.Resources, h)
			}
		})
		if len(s.Resources) > 0 {
			out = append(out, s)
		}
	}
	return out
}

func (m *Manager) healthOf(driver string, d *device) corev1.ResourceHealth {
	out := corev1.ResourceHealth{ResourceID: corev1.ResourceID(fmt.Sprintf("%s/%s/%s", driver, d.PoolName, d.DeviceName)), Health: corev1.ResourceHealthStatusUnknown}
	if len(d.CDIDeviceIDs) > 0 {
		out.ResourceID = corev1.ResourceID(d.CDIDeviceIDs[0])
	}
	if h, ok := m.health[driver][deviceKey{d.PoolName, d.DeviceName}]; ok && time.Now().Before(h.until) {
		out.Health = h.state
		if h.message != "" {
			out.Message = &h.message
		}
	}
	return out
}
