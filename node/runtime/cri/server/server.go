package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"clipper/image"
	"clipper/node/network"
	"clipper/node/runtime"
)

// A Network attaches sandboxes and knows the addresses of those that are attached.
type Network interface {
	network.Network
	network.UserNamespaced
	// Lookup returns what Attach has returned for id, if it is attached.
	Lookup(id string) (network.Attachment, bool)
}

// Images is the image store behind the image service.
type Images interface {
	runtime.Images
	Config(ref string) (*v1.ConfigFile, error)
	// Usage is what all images take on the file system of Dir.
	Usage(ctx context.Context) (image.Usage, error)
	Dir() string
}

// Options say what is served. All fields are required.
type Options struct {
	Socket  string // its path; the folder is made if missing
	Dir     string // for the files that sandboxes' containers share
	Runtime runtime.Runtime
	Images  Images
	// Network returns the pod network, nil until there is one.
	Network func() Network
	// CgroupParent is where sandboxes go that name no parent, relative to the hierarchies' roots.
	CgroupParent string
	Version      string // of the runtime
}

// A Server serves the CRI.
type Server struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	opts    Options
	streams streams
	naming  names
	disk    diskUsage
}

// New returns a server. It listens nowhere yet.
func New(o Options) *Server {
	return &Server{opts: o, streams: streams{rt: o.Runtime}, disk: diskUsage{of: o.Images.Usage}}
}

// maxMessage is the size of the largest request and answer. containerd's figure.
const maxMessage = 16 << 20

// Run serves until ctx ends. Sandboxes and containers stay.
func (s *Server) Run(ctx context.Context) error {
	listener, err := s.listen()
	if err != nil {
		return err
	}
	if err := s.sweepFiles(ctx); err != nil {
		return errors.Join(err, listener.Close())
	}
	g := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.UnaryInterceptor(answerUnary), grpc.StreamInterceptor(answerStream))
	runtimeapi.RegisterRuntimeServiceServer(g, s)
	runtimeapi.RegisterImageServiceServer(g, &imageService{images: s.opts.Images, disk: &s.disk})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.streams.run(ctx) })
	group.Go(func() error { return g.Serve(listener) })
	group.Go(func() error {
		<-ctx.Done()
		g.Stop()
		return nil
	})
	return group.Wait()
}

// listen takes the socket over from a process that was killed.
func (s *Server) listen() (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(s.opts.Socket), 0o755); err != nil {
		return nil, fmt.Errorf("serve the container runtime interface: %w", err)
	}
	if conn, err := net.DialTimeout("unix", s.opts.Socket, time.Second); err == nil {
		conn.Close()
		return nil, fmt.Errorf("serve the container runtime interface: another process listens on %s; stop it", s.opts.Socket)
	}
	if err := os.Remove(s.opts.Socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("serve the container runtime interface: %w", err)
	}
	listener, err := net.Listen("unix", s.opts.Socket)
	if err != nil {
		return nil, fmt.Errorf("serve the container runtime interface: %w", err)
	}
	// Whoever may connect is root.
	if err := os.Chmod(s.opts.Socket, 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

func answerUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	resp, err := handler(ctx, req)
	return resp, coded(err)
}

func answerStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return coded(handler(srv, stream))
}

// coded gives err the code that containerd gives it.
func coded(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	code := codes.Unknown
	switch {
	case errors.Is(err, runtime.ErrNotFound):
		code = codes.NotFound
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	}
	return status.Error(code, err.Error())
}

// Version says which runtime this is.
func (s *Server) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{
		Version: "0.1.0", RuntimeName: "clipper", RuntimeVersion: "v" + s.opts.Version, RuntimeApiVersion: "v1",
	}, nil
}

// Status says whether sandboxes can be made, and what they can have.
func (s *Server) Status(ctx context.Context, req *runtimeapi.StatusRequest) (*runtimeapi.StatusResponse, error) {
	conditions := []*runtimeapi.RuntimeCondition{
		{Type: runtimeapi.RuntimeReady, Status: true},
		{Type: runtimeapi.NetworkReady, Status: true},
	}
	if s.opts.Network() == nil {
		conditions[1].Status, conditions[1].Reason, conditions[1].Message = false, "NetworkPluginNotReady", errNoNetwork.Error()
	}
	out := &runtimeapi.StatusResponse{Status: &runtimeapi.RuntimeStatus{Conditions: conditions}}
	if teller, ok := s.opts.Runtime.(runtime.FeatureTeller); ok {
		f, err := teller.Features(ctx)
		if err != nil {
			return nil, err
		}
		out.Features = &runtimeapi.RuntimeFeatures{
			SupplementalGroupsPolicy: f.SupplementalGroupsPolicy, UserNamespacesHostNetwork: f.UserNamespacesHostNetwork,
		}
		for _, h := range f.Handlers {
			out.RuntimeHandlers = append(out.RuntimeHandlers, &runtimeapi.RuntimeHandler{Name: h.Name, Features: &runtimeapi.RuntimeHandlerFeatures{
				RecursiveReadOnlyMounts: h.RecursiveReadOnlyMounts, UserNamespaces: h.UserNamespaces,
			}})
		}
	}
	if req.Verbose {
		out.Info = map[string]string{"config": asJSON(map[string]string{"cgroupParent": s.opts.CgroupParent, "imageDir": s.opts.Images.Dir()})}
	}
	return out, nil
}

// RuntimeConfig says how cgroups are named.
func (s *Server) RuntimeConfig(context.Context, *runtimeapi.RuntimeConfigRequest) (*runtimeapi.RuntimeConfigResponse, error) {
	return &runtimeapi.RuntimeConfigResponse{Linux: &runtimeapi.LinuxRuntimeConfiguration{CgroupDriver: runtimeapi.CgroupDriver_CGROUPFS}}, nil
}

// UpdateRuntimeConfig would tell the range of pods' addresses: the network has it from the API.
func (s *Server) UpdateRuntimeConfig(context.Context, *runtimeapi.UpdateRuntimeConfigRequest) (*runtimeapi.UpdateRuntimeConfigResponse, error) {
	return &runtimeapi.UpdateRuntimeConfigResponse{}, nil
}

// addresses returns the addresses of a sandbox.
func (s *Server) addresses(sb *runtime.SandboxStatus) []netip.Addr {
	n := s.opts.Network()
	if sb.HostNetwork || !sb.Ready || n == nil {
		return nil
	}
	at, _ := n.Lookup(sb.ID)
	return at.IPs
}
