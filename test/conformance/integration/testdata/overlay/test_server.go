package framework

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path"
	"reflect"
	"strings"
	"testing"

	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	genericapiserver "k8s.io/apiserver/pkg/server"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
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
	hooked, err := fromOutside(setup.ModifyServerConfig, o)
	if err != nil {
		return nil, err
	}
	if hooked.rbac {
		o.Authorization.Modes = []string{"RBAC"}
	}
	if hooked.rbac && t.Name() == asksRBAC {
		return nil, &standin.NotOffered{Reason: "a hook in upstream's process: its RBAC authorizer"}
	}
	flags, err := standin.FlagsOf(o)
	if err != nil {
		return nil, err
	}
	more, stop, err := hooked.Serve(dir, strings.Join(o.Authorization.Modes, ","))
	if err != nil {
		return nil, err
	}
	t.Cleanup(stop)
	server, err := standin.Start(ctx, dir, standin.Options{
		Endpoints: o.Etcd.StorageConfig.Transport.ServerList, Root: o.Etcd.StorageConfig.Prefix, Flags: standin.Override(flags, more), Gates: gates.Flags(),
	})
	if err != nil {
		return nil, err
	}
	if hooked.anonymous {
		server.Config.BearerToken = ""
	}
	if hooked.anonymous && hooked.Authenticator != nil {
		server.Config.BearerToken = "nobody's" // what comes without a token no webhook is asked about
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

// hooks are what a test changes in a server's configuration.
type hooks struct {
	standin.Hooks
	anonymous bool // the test goes without credentials
	rbac      bool // the test makes upstream's RBAC authorizer: the server's own takes its place
}

// fromOutside has a test change a configuration. What is there without the test is asked for by the server itself; what
// the test puts into the process of the server, and is no authenticator or authorizer, is not there in another. What o says
// as well is set there.
func fromOutside(modify func(*controlplane.Config), o *options.ServerRunOptions) (h hooks, err error) {
	if modify == nil {
		return h, nil
	}
	config, accounts := &controlplane.Config{}, o.Authentication.ServiceAccounts
	extra := &config.ControlPlane.Extra
	extra.ServiceAccountMaxExpiration, extra.ExtendExpiration = accounts.MaxExpiration, accounts.ExtendExpiration
	if extra.ServiceAccountIssuer, err = standin.Signer(accounts.Issuers[0]); err != nil {
		return h, err
	}
	generic := genericapiserver.NewConfig(legacyscheme.Codecs)
	config.ControlPlane.Generic, config.ControlPlane.Extra.StorageFactory = generic, noStorage{}
	generic.OpenAPIConfig = DefaultOpenAPIConfig()
	generic.LoopbackClientConfig = &rest.Config{BearerToken: "ours"}
	generic.Authentication.Authenticator = authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) { return nil, false, nil })
	generic.Authentication.APIAudiences = o.Authentication.APIAudiences
	generic.Authorization.Authorizer = standin.Rest
	before := *generic
	h.rbac = makesRBAC(func() { modify(config) })
	after := config.ControlPlane.Generic
	o.Authentication.ServiceAccounts.MaxExpiration, o.Authentication.ServiceAccounts.ExtendExpiration = extra.ServiceAccountMaxExpiration, extra.ExtendExpiration
	for hook, set := range map[string]bool{
		"admission": after.AdmissionControl != nil && !ours(after.AdmissionControl, o), "an audit backend": after.AuditBackend != nil, "an audit policy": after.AuditPolicyRuleEvaluator != nil,
		"a resolver of requests": after.RequestInfoResolver != before.RequestInfoResolver,
	} {
		if set {
			return h, &standin.NotOffered{Reason: "a hook in upstream's process: " + hook}
		}
	}
	h.AnyAudience = after.Authentication.APIAudiences == nil
	h.anonymous = after.LoopbackClientConfig.BearerToken == ""
	if !same(after.Authentication.Authenticator, before.Authentication.Authenticator) {
		h.Authenticator = after.Authentication.Authenticator
	}
	if !same(after.Authorization.Authorizer, before.Authorization.Authorizer) {
		h.Authorizer = after.Authorization.Authorizer
	}
	return h, nil
}

// plugins are those of upstream's admission that a test makes and the server has itself, by package.
var plugins = map[string]string{
	"k8s.io/kubernetes/plugin/pkg/admission/defaulttolerationseconds": "DefaultTolerationSeconds",
	"k8s.io/kubernetes/plugin/pkg/admission/podtolerationrestriction": "PodTolerationRestriction",
}

// ours switches on the server's own plug-in that does what a does, and off one that a test without others would fail by.
func ours(a any, o *options.ServerRunOptions) bool {
	name, ok := plugins[reflect.Indirect(reflect.ValueOf(a)).Type().PkgPath()]
	if generic := o.Admission.GenericAdmission; ok {
		generic.EnablePlugins, generic.DisablePlugins = append(generic.EnablePlugins, name), append(generic.DisablePlugins, "ServiceAccount")
	}
	return ok
}

// same compares interfaces that hold functions, which == does not.
func same(a, b any) bool {
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	return x.Kind() == reflect.Func && y.Kind() == reflect.Func && x.Pointer() == y.Pointer()
}

// asksRBAC is the test that asks upstream's RBAC authorizer itself. Others ask the server.
const asksRBAC = "TestRBACContextContamination"

// noStorage stands for the storage that only upstream's RBAC authorizer, made by a test, asks for.
type noStorage struct{ serverstorage.StorageFactory }

// errRBAC is what noStorage panics with.
var errRBAC = errors.New("storage of roles")

// NewConfig tells makesRBAC.
func (noStorage) NewConfig(schema.GroupResource, runtime.Object) (*storagebackend.ConfigForResource, error) {
	panic(errRBAC)
}

// makesRBAC says whether f gets as far as to make an RBAC authorizer.
func makesRBAC(f func()) (rbac bool) {
	defer func() {
		if p := recover(); p == errRBAC {
			rbac = true
		} else if p != nil {
			panic(p)
		}
	}()
	f()
	return false
}
