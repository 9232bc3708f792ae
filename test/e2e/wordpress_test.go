package e2e

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestWordPress runs the deck's last demonstration with the real programs: the commands in its order, then
// a site is set up, every pod is deleted, and the site is still there.
func TestWordPress(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a database twice")
	}
	u := newUser(t)
	file := func(name string) string { return filepath.Join("..", "manifests", "wordpress", name) }
	node := strings.Fields(u.must("get", "nodes", "-o", "name"))[0]
	u.must("label", node, "clipper.test/database=true", "--overwrite")
	t.Cleanup(func() {
		u.try("label", node, "clipper.test/database-")
		u.try("delete", "-f", file("mysql-pv.yaml"), "--wait=false")
		u.inside("rm", "-rf", "/var/tmp/clipper-wordpress-mysql")
	})

	u.must("create", "secret", "generic", "mysql-pass", "--from-literal=password=YOUR_PASSWORD")
	u.must("create", "-f", file("mysql-pv.yaml"))
	u.must("create", "-f", file("mysql-service.yaml"))
	u.must("create", "-f", file("mysql-all.yaml"))
	u.must("create", "-f", file("app.yaml"))
	u.must("rollout", "status", "deployment/wordpress-mysql", "--timeout=90s")
	u.must("rollout", "status", "deployment/wordpress", "--timeout=90s")

	ip := u.must("get", "service", "wordpress", "-o", "jsonpath={.spec.clusterIP}")
	u.answers("http://"+ip+"/wp-admin/install.php", "WordPress")
	r := u.inside("curl", "-s", "--max-time", "25", "http://"+ip+"/wp-admin/install.php?step=2",
		"--data-urlencode", "weblog_title=Clipper keeps this", "-d", "user_name=admin", "-d", "admin_email=admin@example.com",
		"-d", "admin_password=a-long-password", "-d", "admin_password2=a-long-password", "-d", "pw_weak=1", "-d", "blog_public=0")
	if r.code != 0 || !strings.Contains(r.out, "Success") {
		t.Fatalf("the installation answers %d, %q", r.code, r.both())
	}
	u.answers("http://"+ip+"/", "Clipper keeps this")

	before := u.must("get", "pods", "-o", "jsonpath={.items[*].metadata.uid}")
	u.must("delete", "pods", "--all", "--timeout=60s")
	u.must("rollout", "status", "deployment/wordpress-mysql", "--timeout=90s")
	u.must("rollout", "status", "deployment/wordpress", "--timeout=90s")
	after := u.must("get", "pods", "-o", "jsonpath={.items[*].metadata.uid}")
	for _, uid := range strings.Fields(before) {
		if strings.Contains(after, uid) {
			t.Errorf("pod %s is still there", uid)
		}
	}
	u.answers("http://"+ip+"/", "Clipper keeps this")

	// The clean-up leaves the retained volume alone, nothing else.
	for _, name := range []string{"app.yaml", "mysql-all.yaml", "mysql-service.yaml"} {
		u.must("delete", "-f", file(name))
	}
	u.must("delete", "pvc", "mysql-pv-claim")
	u.eventually(time.Minute, is(""), "get", "pods", "-o", "name")
	if out := u.must("get", "pv", "mysql-pv", "-o", "jsonpath={.status.phase}"); out != "Released" {
		t.Errorf("the volume is %s, want Released", out)
	}
}
