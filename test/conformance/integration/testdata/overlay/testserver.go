// Package testing is what upstream's tests import to start an API server. This file takes the place of upstream's: the
// names are its own, the server is another.
package testing

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storageversion"
	"k8s.io/client-go/rest"

	"clipper/test/conformance/integration/standin"

	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	"k8s.io/kubernetes/test/utils/ktesting"
)

// TearDownFunc ends a server.
type TearDownFunc func()

// TestServerInstanceOptions are what a test asks for beside flags.
type TestServerInstanceOptions struct {
	SkipHealthzCheck       bool
	EnableCertAuth         bool
	StorageVersionWrapFunc func(storageversion.Manager) storageversion.Manager
	ProxyCA                *ProxyCA
	BinaryVersion          string
	RequestTimeout         time.Duration
}

// ProxyCA is the authority of front proxies.
type ProxyCA struct {
	ProxySigningCert *x509.Certificate
	ProxySigningKey  *rsa.PrivateKey
}

// TestServer is a server that runs.
type TestServer struct {
	ClientConfig      *rest.Config
	ServerOpts        *options.ServerRunOptions
	TearDownFn        TearDownFunc
	TmpDir            string
	EtcdClient        *clientv3.Client
	EtcdStoragePrefix string
}

// Logger is the part of a test that only listens.
type Logger interface {
	Helper()
	Errorf(format string, args ...interface{})
	Fatalf(format string, args ...interface{})
	Logf(format string, args ...interface{})
	Cleanup(func())
}

// NewDefaultTestServerOptions returns what tests that ask for nothing get.
func NewDefaultTestServerOptions() *TestServerInstanceOptions {
	return &TestServerInstanceOptions{EnableCertAuth: true}
}

// StartTestServer starts a server.
func StartTestServer(t ktesting.TB, instance *TestServerInstanceOptions, flags []string, storage *storagebackend.Config) (TestServer, error) {
	if instance == nil {
		instance = NewDefaultTestServerOptions()
	}
	if reason := inProcess(instance); reason != "" {
		t.Skip(reason)
	}
	s, err := start(t, instance, flags, storage)
	if missing := (*standin.NotOffered)(nil); errors.As(err, &missing) {
		t.Skip(missing.Error())
	}
	return s, err
}

// StartTestServerOrDie starts a server or ends the test.
func StartTestServerOrDie(t testing.TB, instance *TestServerInstanceOptions, flags []string, storage *storagebackend.Config) *TestServer {
	s, err := StartTestServer(t, instance, flags, storage)
	if err != nil {
		t.Fatalf("failed to launch server: %v", err)
	}
	return &s
}

// GetEtcdClients returns clients of the tests' etcd.
func GetEtcdClients(config storagebackend.TransportConfig) (*clientv3.Client, clientv3.KV, error) {
	client, err := clientv3.New(clientv3.Config{Endpoints: config.ServerList, DialTimeout: 20 * time.Second})
	if err != nil {
		return nil, nil, err
	}
	return client, clientv3.NewKV(client), nil
}

// inProcess names what a test wants to do inside of the server.
func inProcess(o *TestServerInstanceOptions) string {
	switch {
	case o.StorageVersionWrapFunc != nil:
		return "a hook in upstream's process: StorageVersionWrapFunc"
	case o.BinaryVersion != "":
		return "a server that claims version " + o.BinaryVersion
	}
	return ""
}

func start(t ktesting.TB, instance *TestServerInstanceOptions, flags []string, storage *storagebackend.Config) (TestServer, error) {
	dir, err := os.MkdirTemp("", "kubernetes-kube-apiserver")
	if err != nil {
		return TestServer{}, err
	}
	out := TestServer{ServerOpts: options.NewServerRunOptions(), EtcdStoragePrefix: storage.Prefix, TmpDir: dir}
	if err := fill(t, &out, instance, flags, storage); err != nil {
		return out, errors.Join(err, os.RemoveAll(dir))
	}
	return out, nil
}

// fill starts the server of out.
func fill(t ktesting.TB, out *TestServer, instance *TestServerInstanceOptions, flags []string, storage *storagebackend.Config) error {
	gates, err := readFlags(out, instance, flags)
	if err != nil {
		return err
	}
	given, err := standin.FlagsOf(out.ServerOpts)
	if err != nil {
		return err
	}
	out.ServerOpts.Etcd.StorageConfig = *storage
	if err := gates.Settle(t); err != nil {
		return err
	}
	server, err := launch(out, !instance.SkipHealthzCheck, given, gates.Flags())
	if err == nil {
		out.EtcdClient, _, err = GetEtcdClients(storage.Transport)
	}
	if err != nil {
		return err
	}
	out.ClientConfig = rest.CopyConfig(server.Config)
	out.ClientConfig.QPS, out.ClientConfig.Burst = 1000, 10000
	out.ServerOpts.SecureServing.BindPort = server.Port
	out.ServerOpts.SecureServing.ServerCert.CertKey.CertFile = server.CAFile
	out.TearDownFn = func() {
		server.Stop()
		out.EtcdClient.Close()
		os.RemoveAll(out.TmpDir)
	}
	return nil
}

// readFlags sets the options of s as the flags say.
func readFlags(s *TestServer, instance *TestServerInstanceOptions, flags []string) (*standin.Gates, error) {
	o := s.ServerOpts
	gates, err := standin.NewGates(o)
	if err != nil {
		return nil, err
	}
	var proxies *x509.Certificate
	if instance.ProxyCA != nil {
		proxies = instance.ProxyCA.ProxySigningCert
	}
	if err := standin.Believe(o, s.TmpDir, proxies); err != nil {
		return nil, err
	}
	o.Authentication.RequestHeader.AllowedNames = []string{"ash", "misty", "brock"}
	o.ServiceClusterIPRanges = "10.0.0.0/16"
	if instance.RequestTimeout > 0 {
		o.GenericServerRunOptions.RequestTimeout = instance.RequestTimeout
	}
	return gates, standin.FlagsOn(o).Parse(flags)
}

func launch(s *TestServer, ready bool, flags []standin.Flag, gates []string) (*standin.Server, error) {
	server, err := standin.Start(context.Background(), s.TmpDir, standin.Options{
		Endpoints: s.ServerOpts.Etcd.StorageConfig.Transport.ServerList,
		Root:      s.ServerOpts.Etcd.StorageConfig.Prefix,
		Flags:     flags, Gates: gates, DoNotWait: !ready,
	})
	if err != nil {
		return nil, fmt.Errorf("start the server: %w", err)
	}
	return server, nil
}
