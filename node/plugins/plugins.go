// Package plugins finds the plug-ins of a node: CSI drivers, DRA drivers, device plug-ins. A plug-in puts a socket
// into the node's folder plugins_registry; behind it, it serves pluginregistration.Registration, says what it is,
// where its service listens, and which versions of it there are, and is told whether the node took it. It is
// dropped when the socket goes, and taken anew when the socket is made anew.
//
// What a type of plug-in means is its Handler's business. For which paths mean what, see package kubeletdir.
package plugins

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"clipper/node/kubeletdir"
)

// Folders of the node's directory that plug-ins and their manifests name.
const (
	RegistryDir = "plugins_registry" // registration sockets
	ServiceDir  = "plugins"          // drivers' own sockets and state
)

// A Plugin is what one says of itself.
type Plugin struct {
	Type     string   // registration.CSIPlugin, DRAPlugin or DevicePlugin
	Name     string   // of the driver, or the resource
	Endpoint string   // the socket of its service, on this machine
	Versions []string // that it speaks
	Socket   string   // the one it was found by: two of one name differ in it
}

// A Handler takes the plug-ins of one type. Calls for one socket come one after the other; those for several at
// the same time. Of a plug-in that is being replaced, the new instance may register, by another socket, before
// the old one is gone: Deregister of the old one must then leave the new one alone.
type Handler interface {
	// Register takes a plug-in. What its error says, the plug-in is told, and asked again after a pause.
	Register(ctx context.Context, p Plugin) error
	// Deregister drops one that Register took.
	Deregister(p Plugin)
}

// Limits of one registration. Upstream's, but for the pauses between attempts: its loop runs each second and
// doubles from half a second to some two minutes.
const (
	infoTimeout   = time.Second
	dialTimeout   = 10 * time.Second
	notifyTimeout = 5 * time.Second
	firstPause    = 500 * time.Millisecond
	longestPause  = 2*time.Minute + 2*time.Second
)

// attend registers the plug-in behind a socket, again until that works, keeps it until ctx ends, and drops it.
func (w *Watcher) attend(ctx context.Context, socket string) {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		p, err := w.register(ctx, socket)
		if err == nil {
			slog.Info("Plug-in registered", "type", p.Type, "plugin", p.Name, "socket", socket)
			<-ctx.Done()
			w.handlers[p.Type].Deregister(p)
			slog.Info("Plug-in dropped", "type", p.Type, "plugin", p.Name, "socket", socket)
			return
		}
		if ctx.Err() != nil {
			return
		}
		slog.Warn("Registering a plug-in failed; it will be tried again", "socket", socket, "in", pause, "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// register asks a plug-in what it is, hands it to its type's handler and tells it the result.
func (w *Watcher) register(ctx context.Context, socket string) (Plugin, error) {
	conn, err := Dial(socket)
	if err != nil {
		return Plugin{}, fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	client := registration.NewRegistrationClient(conn)
	p, err := w.ask(ctx, client, socket)
	if err != nil {
		return Plugin{}, err
	}
	handler := w.handlers[p.Type]
	if handler == nil {
		err = fmt.Errorf("no handler registered for plugin type: %s at socket %s", p.Type, w.dir.Told(socket))
		return p, errors.Join(err, tell(ctx, client, err))
	}
	if err := handler.Register(ctx, p); err != nil {
		return p, errors.Join(err, tell(ctx, client, fmt.Errorf("plugin registration failed with err: %w", err)))
	}
	if err := tell(ctx, client, nil); err != nil {
		handler.Deregister(p)
		return p, err
	}
	return p, nil
}

// ask waits for the socket to be served and returns what the plug-in says of itself.
func (w *Watcher) ask(ctx context.Context, client registration.RegistrationClient, socket string) (Plugin, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout+infoTimeout)
	defer cancel()
	info, err := client.GetInfo(ctx, &registration.InfoRequest{}, waitForReady)
	if err != nil {
		return Plugin{}, fmt.Errorf("get plugin info using RPC GetInfo: %w", err)
	}
	p := Plugin{Type: info.Type, Name: info.Name, Endpoint: socket, Versions: info.SupportedVersions, Socket: socket}
	if info.Endpoint != "" {
		p.Endpoint = w.dir.Host(info.Endpoint)
	}
	return p, nil
}

// tell says to a plug-in whether it has been taken.
func tell(ctx context.Context, client registration.RegistrationClient, refused error) error {
	ctx, cancel := context.WithTimeout(ctx, notifyTimeout)
	defer cancel()
	status := &registration.RegistrationStatus{PluginRegistered: refused == nil}
	if refused != nil {
		status.Error = "RegisterPlugin error -- " + refused.Error()
	}
	if _, err := client.NotifyRegistrationStatus(ctx, status); err != nil {
		return fmt.Errorf("send registration status: %w", err)
	}
	return nil
}

// NewWatcher returns a watcher of the plug-ins that register in dir; handlers are by type. It starts nothing.
func NewWatcher(dir kubeletdir.Dir, handlers map[string]Handler) *Watcher {
	return &Watcher{dir: dir, handlers: handlers, sockets: map[string]*attendance{}}
}
