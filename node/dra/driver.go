package dra

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	drav1 "k8s.io/kubelet/pkg/apis/dra/v1"
	drav1beta1 "k8s.io/kubelet/pkg/apis/dra/v1beta1"

	"clipper/node/plugins"
)

// services are the versions of a driver's service that we speak.
var services = []string{drav1.DRAPluginService, drav1beta1.DRAPluginService}

// A driver is one instance of a driver that has registered. While a driver is being updated there may be two.
type driver struct {
	name, socket string
	conn         *grpc.ClientConn
	client       drav1.DRAPluginClient
	connected    bool // guarded by the manager's mu
	end          context.CancelFunc
	wg           sync.WaitGroup
}

// Register takes a driver that the watcher of plug-ins has found. Errors are the kubelet's.
func (m *Manager) Register(ctx context.Context, p plugins.Plugin) error {
	service, err := choose(p.Versions)
	if err != nil {
		return fmt.Errorf("invalid supported gRPC versions of DRA driver plugin %s at endpoint %s: %w", p.Name, m.cfg.Dir.Told(p.Endpoint), err)
	}
	conn, err := plugins.Dial(p.Endpoint, m.metrics.count(p.Name))
	if err != nil {
		return fmt.Errorf("create gRPC connection to DRA driver %s plugin at endpoint %s: %w", p.Name, m.cfg.Dir.Told(p.Endpoint), err)
	}
	run, cancel := context.WithCancel(ctx)
	d := &driver{name: p.Name, socket: p.Socket, conn: conn, client: drav1.NewDRAPluginClient(conn), end: cancel}
	if service == drav1beta1.DRAPluginService {
		d.client = drav1beta1.V1Beta1ClientWrapper{DRAPluginClient: drav1beta1.NewDRAPluginClient(conn)}
	}
	m.mu.Lock()
	m.drivers[d.name] = append(m.drivers[d.name], d)
	m.mu.Unlock()
	d.wg.Go(func() { m.watchConnection(run, d) })
	d.wg.Go(func() { m.watchHealth(run, d) })
	return nil
}

// choose returns the first of the services that we speak.
func choose(offered []string) (string, error) {
	if len(offered) == 0 {
		return "", errors.New("empty list of supported gRPC services (aka supported versions)")
	}
	for _, s := range offered {
		if slices.Contains(services, s) {
			return s, nil
		}
	}
	return "", fmt.Errorf("none of services supported by the plugin (%q) are supported by the kubelet (%q)", offered, services)
}

// Deregister drops a driver.
func (m *Manager) Deregister(p plugins.Plugin) {
	m.mu.Lock()
	i := slices.IndexFunc(m.drivers[p.Name], func(d *driver) bool { return d.socket == p.Socket })
	if i < 0 {
		m.mu.Unlock()
		return
	}
	d := m.drivers[p.Name][i]
	if m.drivers[p.Name] = slices.Delete(m.drivers[p.Name], i, i+1); len(m.drivers[p.Name]) == 0 {
		delete(m.drivers, p.Name)
	}
	m.mu.Unlock()
	d.end()
	d.wg.Wait()
	_ = d.conn.Close()
	m.wipes.look(d.name)
}

// watchConnection keeps connected, and notes whether that works: a driver that is killed says no good-bye.
func (m *Manager) watchConnection(ctx context.Context, d *driver) {
	for state := d.conn.GetState(); ctx.Err() == nil; state = d.conn.GetState() {
		m.mu.Lock()
		changed := d.connected != (state == connectivity.Ready)
		d.connected = state == connectivity.Ready
		m.mu.Unlock()
		if changed {
			slog.Debug("The connection to a DRA driver has changed", "driver", d.name, "state", state.String())
			m.wipes.look(d.name)
		}
		if state == connectivity.Idle {
			d.conn.Connect()
		}
		d.conn.WaitForStateChange(ctx, state)
	}
}

// usable reports whether a driver can be reached.
func (m *Manager) usable(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.drivers[name], func(d *driver) bool { return d.connected })
}

// driver returns the newest instance of a driver that is connected, else the newest.
func (m *Manager) driver(name string) (*driver, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.drivers[name]
	if len(list) == 0 {
		return nil, fmt.Errorf("DRA driver %s is not registered", name)
	}
	for _, d := range slices.Backward(list) {
		if d.connected {
			return d, nil
		}
	}
	return list[len(list)-1], nil
}
