package hostpath

import (
	"context"
	"log/slog"

	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// registrar tells a node of a driver.
type registrar struct {
	registration.UnimplementedRegistrationServer
	name, endpoint string
}

// Register offers the driver named name, whose service is at endpoint, on a socket in the node's registry, until ctx
// ends.
func Register(ctx context.Context, socket, name, endpoint string) error {
	l, err := listen(socket)
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	registration.RegisterRegistrationServer(s, &registrar{name: name, endpoint: endpoint})
	stop := context.AfterFunc(ctx, s.Stop)
	defer stop()
	return s.Serve(l)
}

// GetInfo implements the registration service.
func (r *registrar) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{Type: registration.CSIPlugin, Name: r.name, Endpoint: r.endpoint, SupportedVersions: []string{"1.0.0"}}, nil
}

// NotifyRegistrationStatus implements the registration service.
func (r *registrar) NotifyRegistrationStatus(_ context.Context, st *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	slog.Info("Registration", "registered", st.PluginRegistered, "error", st.Error)
	return &registration.RegistrationStatusResponse{}, nil
}
