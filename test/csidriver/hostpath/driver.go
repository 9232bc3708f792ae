// Package hostpath is a CSI driver for tests: its volumes are directories, or files behind loop devices, below a
// directory that all nodes of the machine share. It does all that the node's side of the specification has, notes
// every call, and fails or hangs when told so.
package hostpath

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TopologyKey is the label that nodes get.
const TopologyKey = "topology.hostpath.csi.example.com/node"

// A Driver is one node's instance. Data is laid out as volumes/ID/{meta.json,data,image}, calls/NODE and
// faults/METHOD, whose content is the name of a gRPC code, or "hang".
type Driver struct {
	csipb.UnimplementedNodeServer
	csipb.UnimplementedIdentityServer
	Name, NodeID, Data string
	MountGroup         bool // the driver gives volumes to pods' groups itself
	// Host returns where a path lies that the node tells. Nil: there. A driver in a container mounts the node's
	// directory where the node says it is; one in a test's process cannot.
	Host func(path string) string

	mu sync.Mutex
}

// A Call is a request that a driver has had.
type Call struct {
	Method  string
	Request json.RawMessage
	Error   string `json:",omitempty"`
}

// Serve answers on a socket until ctx ends.
func (d *Driver) Serve(ctx context.Context, socket string) error {
	for _, dir := range []string{"volumes", "calls", "faults"} {
		if err := os.MkdirAll(filepath.Join(d.Data, dir), 0o755); err != nil {
			return err
		}
	}
	l, err := listen(socket)
	if err != nil {
		return err
	}
	s := grpc.NewServer(grpc.UnaryInterceptor(d.intercept))
	csipb.RegisterIdentityServer(s, d)
	csipb.RegisterNodeServer(s, d)
	stop := context.AfterFunc(ctx, s.Stop)
	defer stop()
	return s.Serve(l)
}

func listen(socket string) (net.Listener, error) {
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return nil, err
	}
	return net.Listen("unix", socket)
}

// intercept notes a call and lets it fail if that is wanted. Questions without effect are not noted.
func (d *Driver) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	method := info.FullMethod[strings.LastIndexByte(info.FullMethod, '/')+1:]
	if err := d.fault(ctx, method); err != nil {
		d.note(method, req, err)
		return nil, err
	}
	resp, err := handler(ctx, req)
	if method != "NodeGetCapabilities" && method != "Probe" {
		d.note(method, req, err)
	}
	return resp, err
}

func (d *Driver) fault(ctx context.Context, method string) error {
	b, err := os.ReadFile(filepath.Join(d.Data, "faults", method))
	if err != nil {
		return nil
	}
	text := strings.TrimSpace(string(b))
	if text == "hang" {
		<-ctx.Done()
		return status.FromContextError(ctx.Err()).Err()
	}
	var code codes.Code
	if err := code.UnmarshalJSON([]byte(`"` + text + `"`)); err != nil {
		return status.Errorf(codes.Internal, "fault %q: %v", text, err)
	}
	return status.Error(code, "asked to fail")
}

func (d *Driver) note(method string, req any, err error) {
	b, merr := json.Marshal(req)
	c := Call{Method: method, Request: b}
	if merr != nil {
		c.Error = merr.Error()
	}
	if err != nil {
		c.Error = err.Error()
	}
	line, _ := json.Marshal(c)
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := os.OpenFile(filepath.Join(d.Data, "calls", d.NodeID), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return
	}
	defer f.Close()
	fmt.Fprintf(f, "%s\n", line)
}

// Calls returns the requests that a node's instance has had.
func Calls(data, node string) ([]Call, error) {
	b, err := os.ReadFile(filepath.Join(data, "calls", node))
	if err != nil {
		return nil, err
	}
	var out []Call
	dec := json.NewDecoder(strings.NewReader(string(b)))
	for dec.More() {
		var c Call
		if err := dec.Decode(&c); err != nil {
			return out, err
		}
		out = append(out, c)
	}
	return out, nil
}

// Meta is what a volume is.
type Meta struct {
	Block     bool
	Ephemeral bool
	Size      int64 // asked for
	NodeSize  int64 // that a node has let it grow to
}

// Create makes a volume unless it is there.
func Create(data, id string, m Meta) error {
	dir := filepath.Join(data, "volumes", id)
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o777); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Join(dir, "data"), 0o777); err != nil {
		return err
	}
	if m.Block {
		f, err := os.OpenFile(filepath.Join(dir, "image"), os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := f.Truncate(m.Size); err != nil {
			return err
		}
	}
	return SetMeta(data, id, m)
}

// SetMeta changes what a volume is.
func SetMeta(data, id string, m Meta) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(data, "volumes", id, "meta.json"), b, 0o644)
}

// GetMeta returns what a volume is.
func GetMeta(data, id string) (Meta, error) {
	b, err := os.ReadFile(filepath.Join(data, "volumes", id, "meta.json"))
	if err != nil {
		return Meta{}, err
	}
	var m Meta
	return m, json.Unmarshal(b, &m)
}

// Delete removes a volume and its data.
func Delete(data, id string) error {
	dir := filepath.Join(data, "volumes", id)
	return errors.Join(detachLoop(filepath.Join(dir, "image")), os.RemoveAll(dir))
}

// GetPluginInfo implements the identity service.
func (d *Driver) GetPluginInfo(context.Context, *csipb.GetPluginInfoRequest) (*csipb.GetPluginInfoResponse, error) {
	return &csipb.GetPluginInfoResponse{Name: d.Name, VendorVersion: "1"}, nil
}

// Probe implements the identity service.
func (d *Driver) Probe(context.Context, *csipb.ProbeRequest) (*csipb.ProbeResponse, error) {
	return &csipb.ProbeResponse{}, nil
}

// Wait returns once a socket is there.
func Wait(ctx context.Context, socket string) error {
	for {
		if c, err := net.Dial("unix", socket); err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}
