package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"clipper/node/runtime"
	"clipper/node/runtime/events"
)

// Time limits of calls, beside what the caller sets. Upstream's figure (runtimeRequestTimeout).
const callTime = 2 * time.Minute

// openTime is how long a runtime may take to answer when the node starts, openPause the time between attempts.
const (
	openTime  = 30 * time.Second
	openPause = 200 * time.Millisecond
)

// maxMessage is the size of the largest answer. Upstream's figure.
const maxMessage = 16 << 20

// Runtime is a CRI runtime. It implements runtime.Runtime and runtime.FeatureTeller.
type Runtime struct {
	conn          *grpc.ClientConn
	service       runtimeapi.RuntimeServiceClient
	images        *Images
	name, version string
	hub           events.Hub
	ids           identities
}

var (
	_ runtime.Runtime       = (*Runtime)(nil)
	_ runtime.FeatureTeller = (*Runtime)(nil)
)

// Open connects to the runtime at an endpoint, unix:///run/containerd/containerd.sock for instance, and to the
// image service at another or, if that is "", at the same. Run must then be running for events.
func Open(ctx context.Context, endpoint, imageEndpoint string) (*Runtime, error) {
	conn, err := dial(endpoint)
	if err != nil {
		return nil, err
	}
	r := &Runtime{conn: conn, service: runtimeapi.NewRuntimeServiceClient(conn), ids: newIdentities()}
	imageConn := conn
	if imageEndpoint != "" && imageEndpoint != endpoint {
		if imageConn, err = dial(imageEndpoint); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	r.images = &Images{conn: imageConn, service: runtimeapi.NewImageServiceClient(imageConn)}
	if err := r.greet(ctx); err != nil {
		r.Close()
		return nil, fmt.Errorf("container runtime at %s: %w", endpoint, err)
	}
	return r, nil
}

func dial(endpoint string) (*grpc.ClientConn, error) {
	if strings.HasPrefix(endpoint, "/") {
		endpoint = "unix://" + endpoint
	}
	if !strings.HasPrefix(endpoint, "unix:///") {
		return nil, fmt.Errorf("container runtime endpoint %q: give the path of a socket, such as unix:///run/containerd/containerd.sock", endpoint)
	}
	conn, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority("localhost"), // the default, the socket's path, is refused by some servers
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)))
	if err != nil {
		return nil, fmt.Errorf("container runtime endpoint %q: %w", endpoint, err)
	}
	return conn, nil
}

// greet waits for the runtime and asks who it is.
func (r *Runtime) greet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	for {
		v, err := r.service.Version(ctx, &runtimeapi.VersionRequest{})
		switch {
		case err == nil:
			r.name, r.version = v.RuntimeName, v.RuntimeVersion
			r.images.sandbox = r.sandboxImage(ctx)
			return r.checkCgroupDriver(ctx)
		case status.Code(err) == codes.Unimplemented:
			return fmt.Errorf("it does not serve version 1 of the interface: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w; start it, or name another by --container-runtime-endpoint", err)
		case <-time.After(openPause):
		}
	}
}

// sandboxImage asks for the image that every sandbox needs. A node that collected it could run no more pods without
// its registry. Those before containerd 1.7 do not pin it, but tell.
func (r *Runtime) sandboxImage(ctx context.Context) string {
	st, err := r.service.Status(ctx, &runtimeapi.StatusRequest{Verbose: true})
	if err != nil {
		return ""
	}
	var config struct {
		SandboxImage string `json:"sandboxImage"`
	}
	_ = json.Unmarshal([]byte(st.Info["config"]), &config) // others tell other things, or nothing
	return config.SandboxImage
}

// checkCgroupDriver refuses runtimes that leave cgroups to systemd. Old ones do not say.
func (r *Runtime) checkCgroupDriver(ctx context.Context) error {
	config, err := r.service.RuntimeConfig(ctx, &runtimeapi.RuntimeConfigRequest{})
	switch {
	case status.Code(err) == codes.Unimplemented:
		return nil
	case err != nil:
		return plain(err)
	case config.GetLinux().GetCgroupDriver() == runtimeapi.CgroupDriver_SYSTEMD && config.GetLinux() != nil:
		return errors.New("its cgroup driver is systemd; set it to cgroupfs (containerd: SystemdCgroup = false)")
	}
	return nil
}

// Close drops the connections. Containers stay.
func (r *Runtime) Close() {
	_ = r.conn.Close()
	if r.images.conn != r.conn {
		_ = r.images.conn.Close()
	}
}

// Name and Version are the runtime's own.
func (r *Runtime) Name() string    { return r.name }
func (r *Runtime) Version() string { return r.version }

// Images is the image half of the runtime.
func (r *Runtime) Images() *Images { return r.images }

// Features implements runtime.FeatureTeller.
func (r *Runtime) Features(ctx context.Context) (runtime.Features, error) {
	st, err := r.service.Status(ctx, &runtimeapi.StatusRequest{})
	if err != nil {
		return runtime.Features{}, plain(err)
	}
	out := runtime.Features{
		SupplementalGroupsPolicy:  st.GetFeatures().GetSupplementalGroupsPolicy(),
		UserNamespacesHostNetwork: st.GetFeatures().GetUserNamespacesHostNetwork(),
	}
	for _, h := range st.RuntimeHandlers {
		out.Handlers = append(out.Handlers, runtime.Handler{
			Name: h.Name, RecursiveReadOnlyMounts: h.GetFeatures().GetRecursiveReadOnlyMounts(), UserNamespaces: h.GetFeatures().GetUserNamespaces(),
		})
	}
	return out, nil
}

// limited bounds a call.
func limited(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, callTime)
}

// plain turns a call's error into one of the runtime contract. Codes that say nothing are left out of its words, as
// upstream does.
func plain(err error) error {
	st, ok := status.FromError(err)
	if err == nil || !ok {
		return err
	}
	switch st.Code() {
	case codes.Unknown:
		return errors.New(st.Message())
	case codes.NotFound:
		return &coded{err, runtime.ErrNotFound}
	case codes.DeadlineExceeded:
		return &coded{err, context.DeadlineExceeded}
	case codes.Canceled:
		return &coded{err, context.Canceled}
	}
	return err
}

// coded is an error of the wire that is also one of ours.
type coded struct {
	error
	is error
}

func (c *coded) Unwrap() []error { return []error{c.error, c.is} }

// gone makes removing what is not there no error.
func gone(err error) error {
	if err = plain(err); errors.Is(err, runtime.ErrNotFound) {
		return nil
	}
	return err
}

// identities ties the agent's sandbox IDs to the runtime's, and containers to sandboxes. What it has forgotten is
// asked for again.
type identities struct {
	mu        sync.Mutex
	sandboxes map[string]string // the runtime's ID by ours
	known     map[string]known  // by the runtime's ID
	of        map[string]string // container → the runtime's ID of its sandbox
}

// known is what is remembered of a sandbox.
type known struct {
	id     string // ours
	config *runtimeapi.PodSandboxConfig
}

func newIdentities() identities {
	return identities{sandboxes: map[string]string{}, known: map[string]known{}, of: map[string]string{}}
}

func (n *identities) add(remote string, k known) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sandboxes[k.id], n.known[remote] = remote, k
}

func (n *identities) addContainer(id, sandbox string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.of[id] = sandbox
}

func (n *identities) remote(id string) (string, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	remote, ok := n.sandboxes[id]
	return remote, ok
}

func (n *identities) sandbox(remote string) (known, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k, ok := n.known[remote]
	return k, ok
}

func (n *identities) sandboxOf(container string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.of[container]
}

func (n *identities) forget(remote string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.sandboxes, n.known[remote].id)
	delete(n.known, remote)
	maps.DeleteFunc(n.of, func(_, sandbox string) bool { return sandbox == remote })
}

func (n *identities) forgetContainer(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.of, id)
}
