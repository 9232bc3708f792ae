package kubeletdir

import "testing"

func TestDir(t *testing.T) {
	for _, c := range []struct{ dir, told, host string }{
		{"/srv/n1/kubelet", "/var/lib/kubelet", "/srv/n1/kubelet"},
		{"/srv/n1/kubelet", "/var/lib/kubelet/plugins/x/csi.sock", "/srv/n1/kubelet/plugins/x/csi.sock"},
		{"/srv/n1/kubelet", "/var/lib/kubelets/plugins", "/var/lib/kubelets/plugins"},
		{"/srv/n1/kubelet", "/var/lib/kubelet/../other", "/var/lib/kubelet/../other"},
		{"/srv/n1/kubelet", "/dev/null", "/dev/null"},
		{Known, "/var/lib/kubelet/pods", "/var/lib/kubelet/pods"},
	} {
		if got := Dir(c.dir).Host(c.told); got != c.host {
			t.Errorf("Dir(%q).Host(%q) = %q, want %q", c.dir, c.told, got, c.host)
		}
		if got := Dir(c.dir).Told(c.host); got != c.told {
			t.Errorf("Dir(%q).Told(%q) = %q, want %q", c.dir, c.host, got, c.told)
		}
	}
}
