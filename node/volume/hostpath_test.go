package volume

import (
	"testing"

	"clipper/node/kubeletdir"
)

func TestHostPathsThatAreTheNodesOwn(t *testing.T) {
	for _, tc := range []struct{ root, logs, path, want string }{
		{"/node/kubelet", "/node/logs", "/var/log", "/node/logs"},
		{"/node/kubelet", "/node/logs", "/var/log/containers/", "/node/logs/containers"},
		{"/node/kubelet", "/node/logs", "/var/logs", "/var/logs"},
		{"/node/kubelet", "/node/logs", "/var/lib/kubelet/plugins", "/node/kubelet/plugins"},
		{"/var/lib/kubelet", "/var/log", "/var/log/pods", "/var/log/pods"},
		{"/var/lib/kubelet", "", "/var/log/pods", "/var/log/pods"},
	} {
		m := New(Config{RootDir: kubeletdir.Dir(tc.root), LogDir: tc.logs})
		if got := m.host(tc.path); got != tc.want {
			t.Errorf("%+v: %s", tc, got)
		}
	}
}
