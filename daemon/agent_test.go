package daemon

import (
	"strings"
	"testing"

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
