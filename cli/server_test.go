package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/daemon"
)

// parse returns the options that a server's flags amount to.
func parse(args ...string) (*daemon.ServerOptions, error) {
	o, cmd := daemon.DefaultServerOptions(), &cobra.Command{}
	serverFlags(cmd, &o)
	newLogging().flags(cmd)
	err := cmd.ParseFlags(args)
	if err == nil {
		err = cmd.ValidateFlagGroups()
	}
	return &o, err
}

// TestUpstreamsForms: flags take what kube-apiserver's do, which is a number of seconds for some and a time for others.
func TestUpstreamsForms(t *testing.T) {
	o, err := parse("--min-request-timeout=1800", "--shutdown-watch-termination-grace-period=20s", "--etcd-count-metric-poll-period=0",
		"--etcd-db-metric-poll-interval=30s", "--storage-backend=etcd3", "--etcd-servers=http://127.0.0.1:2379", "--watch-cache-sizes=pods#100,deployments.apps#10", "--default-watch-cache-size=200", "--delete-collection-workers=3")
	if err != nil {
		t.Fatal(err)
	}
	if l := o.Operation.Limits; l.MinWatch != 1800*time.Second || l.WatchGrace != 20*time.Second || o.Operation.DeleteWorkers != 3 {
		t.Errorf("%+v %+v", l, o.Operation)
	}
	if w := o.Operation.WatchCache; w.Off || w.NoDefault || !w.Named[schema.GroupResource{Group: "apps", Resource: "deployments"}] {
		t.Errorf("%+v", w)
	}
	if o, err := parse("--watch-cache=false", "--default-watch-cache-size=0"); err != nil || !o.Operation.WatchCache.Off || !o.Operation.WatchCache.NoDefault {
		t.Errorf("%+v, %v", o, err)
	}
	if d := o.Datastore; !d.HideCounts || d.HideSize || d.Backend != "etcd3" {
		t.Errorf("%+v", d)
	}
}

// TestFlagFaults: what no flag takes.
func TestFlagFaults(t *testing.T) {
	for arg, want := range map[string]string{
		"--watch-cache-sizes=pods#100,nodes":      "invalid value of watch cache size: nodes",
		"--watch-cache-sizes=pods#many":           "invalid size of watch cache size: pods#many",
		"--watch-cache-sizes=pods#-1":             "watch cache size cannot be negative: pods#-1",
		"--endpoint-reconciler-type=master-count": "there are lease and none",
		"--v=much":                                         `invalid argument "much" for "--v" flag`,
		"--min-request-timeout=30m":                        `invalid argument "30m" for "--min-request-timeout" flag`,
		"--etcd-db-metric-poll-interval=often":             `time: invalid duration "often"`,
		"--encryption-provider-config-automatic-reload=so": `invalid argument "so"`,
	} {
		if _, err := parse(arg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", arg, err)
		}
	}
}

// TestKubeadm: kubeadm's command line for kube-apiserver v1.36 is understood.
func TestKubeadm(t *testing.T) {
	pki := "/etc/kubernetes/pki/"
	o, err := parse("--advertise-address=10.0.0.1", "--allow-privileged=true", "--authorization-mode=Node,RBAC", "--client-ca-file="+pki+"ca.crt",
		"--enable-admission-plugins=NodeRestriction", "--enable-bootstrap-token-auth=true", "--etcd-cafile="+pki+"etcd/ca.crt",
		"--etcd-certfile="+pki+"apiserver-etcd-client.crt", "--etcd-keyfile="+pki+"apiserver-etcd-client.key", "--etcd-servers=https://127.0.0.1:2379",
		"--kubelet-client-certificate="+pki+"apiserver-kubelet-client.crt", "--kubelet-client-key="+pki+"apiserver-kubelet-client.key",
		"--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname", "--proxy-client-cert-file="+pki+"front-proxy-client.crt",
		"--proxy-client-key-file="+pki+"front-proxy-client.key", "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-client-ca-file="+pki+"front-proxy-ca.crt", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group", "--requestheader-username-headers=X-Remote-User", "--secure-port=6443",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local", "--service-account-key-file="+pki+"sa.pub",
		"--service-account-signing-key-file="+pki+"sa.key", "--service-cluster-ip-range=10.96.0.0/12",
		"--tls-cert-file="+pki+"apiserver.crt", "--tls-private-key-file="+pki+"apiserver.key", "--v=0")
	if err != nil {
		t.Fatal(err)
	}
	if o.Operation.Unprivileged || o.Identity.NoBootstrapTokens || o.Callouts.Proxy.Key != pki+"front-proxy-client.key" {
		t.Errorf("%+v", o)
	}
	if o, err = parse("--allow-privileged=false", "--enable-bootstrap-token-auth=false", "--endpoint-reconciler-type=none"); err != nil {
		t.Fatal(err)
	}
	if !o.Operation.Unprivileged || !o.Identity.NoBootstrapTokens || !o.Operation.Unannounced {
		t.Errorf("%+v", o)
	}
}
