package devices

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc"
	"k8s.io/apimachinery/pkg/types"
	plugin "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"clipper/node/plugins"
)

// How long a plug-in may take. Upstream waits for ever for an allocation; a pod that waits is seen sooner than an
// agent that does.
const (
	connectTimeout  = 10 * time.Second
	allocateTimeout = 2 * time.Minute
	preStartTimeout = plugin.KubeletPreStartContainerRPCTimeoutInSecs * time.Second
)

// An endpoint is a plug-in that has registered.
type endpoint struct {
	resource string
	socket   string
	conn     *grpc.ClientConn
	client   plugin.DevicePluginClient
	options  *plugin.DevicePluginOptions
}

// connect asks the plug-in behind a socket for its options.
func connect(ctx context.Context, resource, socket string) (*endpoint, error) {
	conn, err := plugins.Dial(socket)
	if err != nil {
		return nil, fmt.Errorf("failed to dial device plugin: %w", err)
	}
	e := &endpoint{resource: resource, socket: socket, conn: conn, client: plugin.NewDevicePluginClient(conn)}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if e.options, err = e.client.GetDevicePluginOptions(ctx, &plugin.Empty{}, grpc.WaitForReady(true)); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("failed to get device plugin options: %w", err)
	}
	return e, nil
}

// attach makes e the endpoint of its resource, in place of any before.
func (m *Manager) attach(e *endpoint) {
	m.metrics.registrations.WithLabelValues(e.resource).Inc()
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.resources[e.resource]
	if r == nil {
		r = &kind{}
		m.resources[e.resource] = r
	}
	if r.endpoint != nil {
		_ = r.endpoint.conn.Close() // which ends its follow
	}
	r.endpoint = e
}

// follow takes what the plug-in says of its devices until it ends.
func (m *Manager) follow(ctx context.Context, e *endpoint) {
	defer e.conn.Close()
	stream, err := e.client.ListAndWatch(ctx, &plugin.Empty{})
	for err == nil {
		var list *plugin.ListAndWatchResponse
		if list, err = stream.Recv(); err == nil {
			m.update(e, list.Devices)
		}
	}
	if m.stop(e) && ctx.Err() == nil {
		slog.Warn("A device plug-in has gone; its devices count as unhealthy", "resource", e.resource, "socket", e.socket, "err", err)
	}
}

// update notes what devices there are. A plug-in that says the same again costs nothing.
func (m *Manager) update(e *endpoint, list []*plugin.Device) {
	sick, changed, err := m.note(e, list)
	if err != nil {
		slog.Warn("Noting the node's devices failed", "err", err)
	}
	if changed {
		m.cfg.Changed()
	}
	if len(sick) > 0 {
		m.cfg.Sick(sick)
	}
}

// note returns the pods of which a device has become healthy or unhealthy, and whether anything has changed.
func (m *Manager) note(e *endpoint, list []*plugin.Device) (sick []types.UID, changed bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.resources[e.resource]
	if r == nil || r.endpoint != e {
		return nil, false, nil
	}
	before, back := r.devices, !r.stopped.IsZero()
	r.stopped, r.devices = time.Time{}, devicesOf(list)
	close(m.news)
	m.news = make(chan struct{})
	if !back && before != nil && maps.EqualFunc(before, r.devices, device.equal) {
		return nil, false, nil
	}
	turned := map[string]bool{}
	for id, now := range r.devices {
		was, known := before[id]
		turned[id] = !known || was.healthy != now.healthy
	}
	return m.holdersOf(e.resource, turned), true, m.save()
}

func devicesOf(list []*plugin.Device) map[string]device {
	out := make(map[string]device, len(list))
	for _, d := range list {
		now := device{healthy: d.Health == plugin.Healthy}
		for _, n := range d.GetTopology().GetNodes() {
			now.nodes = append(now.nodes, int(n.ID))
		}
		out[d.ID] = now
	}
	return out
}

// stop notes that a plug-in has gone. It reports whether it was the one in charge.
func (m *Manager) stop(e *endpoint) bool {
	m.mu.Lock()
	r := m.resources[e.resource]
	if r == nil || r.endpoint != e || !r.stopped.IsZero() {
		m.mu.Unlock()
		return false
	}
	r.stopped = time.Now()
	turned := map[string]bool{}
	for id, d := range r.devices {
		turned[id] = d.healthy
		d.healthy = false
		r.devices[id] = d
	}
	sick := m.holdersOf(e.resource, turned)
	m.mu.Unlock()
	m.cfg.Changed()
	if len(sick) > 0 {
		m.cfg.Sick(sick)
	}
	select {
	case m.wake <- struct{}{}:
	default:
	}
	return true
}

// holdersOf returns the pods that have one of some devices.
func (m *Manager) holdersOf(name string, ids map[string]bool) []types.UID {
	var out []types.UID
	for pod, containers := range m.granted {
		for _, grants := range containers {
			if g := grants[name]; g != nil && !slices.Contains(out, pod) && slices.ContainsFunc(g.all().UnsortedList(), func(id string) bool { return ids[id] }) {
				out = append(out, pod)
			}
		}
	}
	return out
}
