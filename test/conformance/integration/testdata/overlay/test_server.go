package framework

import (
	"context"
	"errors"
	"os"
	"path"
	"testing"

	"github.com/google/uuid"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"clipper/test/conformance/integration/standin"

	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/controlplane"
)

// TestServerSetup is what a test changes of a server's configuration.
type TestServerSetup struct {
	ModifyServerRunOptions func(*options.ServerRunOptions)
	ModifyServerConfig     func(*controlplane.Config)
}

// TearDownFunc ends a server.
type TearDownFunc func()

// StartTestServer starts a server.
func StartTestServer(ctx context.Context, t testing.TB, setup TestServerSetup) (kubernetes.Interface, *rest.Config, TearDownFunc) {
	server, stop, err := start(ctx, t, setup)
	if missing := (*standin.NotOffered)(nil); errors.As(err, &missing) {
		t.Skip(missing.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(server.Config)
	if err != nil {
		stop()
		t.Fatal(err)
	}
	return client, server.Config, stop
}

func start(ctx context.Context, t testing.TB, setup TestServerSetup) (*standin.Server, TearDownFunc, error) {
	dir, err := os.MkdirTemp("", "test-integration-")
	if err != nil {
		return nil, nil, err
	}
	server, err := startIn(ctx, t, dir, setup)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return server, func() { server.Stop(); os.RemoveAll(dir) }, nil
}

func startIn(ctx context.Context, t testing.TB, dir string, setup TestServerSetup) (*standin.Server, error) {
	o := options.NewServerRunOptions()
	gates, err := standin.NewGates(o)
	if err != nil {
		return nil, err
	}
	if err := standin.Believe(o, dir, nil); err != nil {
		return nil, err
	}
	configure(o)
	if setup.ModifyServerRunOptions != nil {
		setup.ModifyServerRunOptions(o)
	}
	if err := gates.Settle(t); err != nil {
		return nil, err
	}
	flags, err := standin.FlagsOf(o)
	if err != nil {
		return nil, err
	}
	anonymous, err := fromOutside(setup.ModifyServerConfig)
	if err != nil {
		return nil, err
	}
	server, err := standin.Start(ctx, dir, standin.Options{
		Endpoints: o.Etcd.StorageConfig.Transport.ServerList, Root: o.Etcd.StorageConfig.Prefix, Flags: flags, Gates: gates.Flags(),
	})
	if err != nil {
		return nil, err
	}
	if anonymous {
		server.Config.BearerToken = ""
	}
	return server, nil
}

// configure sets what upstream's tests take for granted.
func configure(o *options.ServerRunOptions) {
	o.Etcd.StorageConfig.Prefix = path.Join("/", uuid.New().String(), "registry")
	o.Etcd.StorageConfig.Transport.ServerList = []string{GetEtcdURL()}
	o.ServiceClusterIPRanges = "10.0.0.0/24"
	o.Authentication.APIAudiences = []string{standin.Issuer}
	o.Authorization.Modes = []string{"Node", "RBAC"}
	o.Authentication.RequestHeader.AllowedNames = []string{"kube-aggregator"}
	o.Authentication.RequestHeader.UsernameHeaders = []string{"X-Remote-User"}
	o.Authentication.RequestHeader.GroupHeaders = []string{"X-Remote-Group"}
	o.Authentication.RequestHeader.ExtraHeaderPrefixes = []string{"X-Remote-Extra-"}
}

// fromOutside has a test change a configuration and says whether the test goes without credentials. What it puts into
// the process of the server is not there in another.
func fromOutside(modify func(*controlplane.Config)) (anonymous bool, err error) {
	if modify == nil {
		return false, nil
	}
	config := &controlplane.Config{}
	config.ControlPlane.Generic = genericapiserver.NewConfig(legacyscheme.Codecs)
	config.ControlPlane.Generic.OpenAPIConfig = DefaultOpenAPIConfig()
	config.ControlPlane.Generic.LoopbackClientConfig = &rest.Config{BearerToken: "ours"}
	before := *config.ControlPlane.Generic
	modify(config)
	after := config.ControlPlane.Generic
	for hook, set := range map[string]bool{
		"an authenticator": after.Authentication.Authenticator != nil, "an authorizer": after.Authorization.Authorizer != nil,
		"admission": after.AdmissionControl != nil, "an audit backend": after.AuditBackend != nil, "an audit policy": after.AuditPolicyRuleEvaluator != nil,
		"a resolver of requests": after.RequestInfoResolver != before.RequestInfoResolver,
	} {
		if set {
			return false, &standin.NotOffered{Reason: "a hook in upstream's process: " + hook}
		}
	}
	return after.LoopbackClientConfig.BearerToken == "", nil
}
