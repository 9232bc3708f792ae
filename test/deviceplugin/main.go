// Command deviceplugin is a device plug-in for tests: it offers some devices that are nothing but names, and gives a
// container a variable that says which it has, and /dev/example for each. A device is sick while a file of its name
// lies in the folder -sick. It registers on the kubelet's socket, as most plug-ins do, and anew when that is made anew.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	plugin "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

func main() {
	s := server{sickDir: "/sick"}
	flag.StringVar(&s.resource, "resource", "example.com/device", "name of the resource")
	flag.StringVar(&s.dir, "dir", plugin.DevicePluginPath, "the kubelet's folder of device plug-ins")
	flag.StringVar(&s.sickDir, "sick", s.sickDir, "folder of files named like devices that are sick")
	flag.IntVar(&s.count, "count", 4, "how many devices there are")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := s.run(ctx); err != nil && ctx.Err() == nil {
		slog.Error("The device plug-in has failed", "err", err)
		os.Exit(1)
	}
}

type server struct {
	plugin.UnimplementedDevicePluginServer
	resource, dir, sickDir string
	count                  int
}

const socket = "example.sock"

// run serves and registers, again whenever the kubelet's socket is made anew.
func (s *server) run(ctx context.Context) error {
	if err := os.MkdirAll(s.sickDir, 0o755); err != nil {
		return err
	}
	watch, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer watch.Close()
	if err := watch.Add(s.dir); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if err := s.serveOnce(ctx, watch); err != nil {
			slog.Warn("Not registered; trying again", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
	return ctx.Err()
}

// serveOnce serves until the kubelet's socket is made anew.
func (s *server) serveOnce(ctx context.Context, watch *fsnotify.Watcher) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	path := filepath.Join(s.dir, socket)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	g := grpc.NewServer()
	plugin.RegisterDevicePluginServer(g, s)
	group.Go(func() error { return g.Serve(listener) })
	group.Go(func() error {
		defer g.Stop()
		if err := s.register(ctx); err != nil {
			return err
		}
		slog.Info("Registered", "resource", s.resource)
		for {
			select {
			case <-ctx.Done():
				return nil
			case ev := <-watch.Events:
				if ev.Has(fsnotify.Create) && filepath.Base(ev.Name) == "kubelet.sock" {
					return nil
				}
			}
		}
	})
	return group.Wait()
}

func (s *server) register(ctx context.Context) error {
	conn, err := grpc.NewClient("unix://"+filepath.Join(s.dir, "kubelet.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err = plugin.NewRegistrationClient(conn).Register(ctx, &plugin.RegisterRequest{Version: plugin.Version, Endpoint: socket, ResourceName: s.resource})
	return err
}

func (s *server) GetDevicePluginOptions(context.Context, *plugin.Empty) (*plugin.DevicePluginOptions, error) {
	return &plugin.DevicePluginOptions{PreStartRequired: true, GetPreferredAllocationAvailable: true}, nil
}

// ListAndWatch tells of the devices, and again when a file comes or goes that says that one is sick.
func (s *server) ListAndWatch(_ *plugin.Empty, stream grpc.ServerStreamingServer[plugin.ListAndWatchResponse]) error {
	watch, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer watch.Close()
	if err := watch.Add(s.sickDir); err != nil {
		return err
	}
	for {
		answer := &plugin.ListAndWatchResponse{}
		for i := range s.count {
			d := &plugin.Device{ID: fmt.Sprint("dev-", i), Health: plugin.Healthy}
			if _, err := os.Stat(filepath.Join(s.sickDir, d.ID)); err == nil {
				d.Health = plugin.Unhealthy
			}
			answer.Devices = append(answer.Devices, d)
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return nil
		case <-watch.Events:
		}
	}
}

// GetPreferredAllocation prefers the last devices, so that one sees that it was asked.
func (s *server) GetPreferredAllocation(_ context.Context, req *plugin.PreferredAllocationRequest) (*plugin.PreferredAllocationResponse, error) {
	out := &plugin.PreferredAllocationResponse{}
	for _, c := range req.ContainerRequests {
		ids := c.AvailableDeviceIDs
		out.ContainerResponses = append(out.ContainerResponses, &plugin.ContainerPreferredAllocationResponse{DeviceIDs: ids[max(len(ids)-int(c.AllocationSize), 0):]})
	}
	return out, nil
}

func (s *server) Allocate(_ context.Context, req *plugin.AllocateRequest) (*plugin.AllocateResponse, error) {
	out := &plugin.AllocateResponse{}
	for _, c := range req.ContainerRequests {
		r := &plugin.ContainerAllocateResponse{Envs: map[string]string{"EXAMPLE_DEVICES": strings.Join(c.DevicesIds, ",")}}
		for _, id := range c.DevicesIds {
			r.Devices = append(r.Devices, &plugin.DeviceSpec{HostPath: "/dev/null", ContainerPath: "/dev/example-" + id, Permissions: "rw"})
		}
		out.ContainerResponses = append(out.ContainerResponses, r)
	}
	slog.Info("Allocated", "request", fmt.Sprint(req.ContainerRequests))
	return out, nil
}

func (s *server) PreStartContainer(_ context.Context, req *plugin.PreStartContainerRequest) (*plugin.PreStartContainerResponse, error) {
	slog.Info("About to start", "devices", req.DevicesIds)
	return &plugin.PreStartContainerResponse{}, nil
}
