package daemon

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"

	"clipper/join"
	"clipper/node/kubeletconfig"
)

func TestServing(t *testing.T) {
	for name, tt := range map[string]struct {
		o     AgentOptions
		later bool
		want  join.Serving
	}{
		"a server of ours":            {AgentOptions{Server: "https://s:6443"}, false, join.ServingAtJoin},
		"one where somebody approves": {AgentOptions{Server: "https://s:6443"}, true, join.ServingLater},
		"another cluster":             {AgentOptions{BootstrapKubeconfig: "f"}, false, join.ServingSelf},
		"another where somebody does": {AgentOptions{BootstrapKubeconfig: "f"}, true, join.ServingLater},
	} {
		c := kubeletconfig.Default()
		c.ServerTLSBootstrap = tt.later
		if got := tt.o.serving(c); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestAgentOptions(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*AgentOptions)
		want   string
	}{
		"bootstrap kubeconfig": {func(o *AgentOptions) { o.BootstrapKubeconfig = "f" }, ""},
		"server":               {func(o *AgentOptions) { o.Server = "https://10.0.0.1:6443" }, ""},
		"neither":              {func(*AgentOptions) {}, "--server"},
		"own label": {func(o *AgentOptions) {
			o.Server, o.Node.Labels = "https://s:1", map[string]string{"disk": "fast", "node.kubernetes.io/pool": "a", "topology.kubernetes.io/zone": "z"}
		}, ""},
		"reserved label": {func(o *AgentOptions) {
			o.Server, o.Node.Labels = "https://s:1", map[string]string{"node-role.kubernetes.io/worker": ""}
		},
			"unknown 'kubernetes.io' or 'k8s.io' labels [node-role.kubernetes.io/worker]"},
	} {
		o := DefaultAgentOptions()
		o.Node.Name, o.Node.IP, o.Node.DataDir = "n", "192.0.2.1", t.TempDir()
		tt.change(&o)
		err := o.complete()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// The node in a server's process looks for a newer certificate once in a while, and goes on with the old one where
// there is none to be had.
func TestServingIsRenewed(t *testing.T) {
	issued := 0
	var fault error
	s, err := newServing(func() (tls.Certificate, error) {
		issued++
		return tls.Certificate{Certificate: [][]byte{{byte(issued)}}}, fault
	})
	if err != nil {
		t.Fatal(err)
	}
	shown := func() byte {
		t.Helper()
		c, err := s.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return c.Certificate[0][0]
	}
	if first := shown(); first != 1 || issued != 1 {
		t.Errorf("shows %d after %d were issued", first, issued)
	}
	s.looked = time.Now().Add(-2 * lookEvery)
	if next := shown(); next != 2 {
		t.Errorf("an hour later it shows %d", next)
	}
	s.looked, fault = time.Now().Add(-2*lookEvery), errors.New("no authority")
	if last := shown(); last != 2 {
		t.Errorf("without an authority it shows %d", last)
	}
}
