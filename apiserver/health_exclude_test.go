package apiserver_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"

	"clipper/apiserver"
	"clipper/apiserver/servertest"
)

// TestExcludedTogether: who leaves out the check of etcd leaves out those of the etcds that keep some resources, not the
// other way round; what has no check is said.
func TestExcludedTogether(t *testing.T) {
	fine := func(context.Context) error { return nil }
	s, err := servertest.Start(t.TempDir(), servertest.Options{Server: func(o *apiserver.Options) {
		o.Checks = map[string]func(context.Context) error{"etcd": fine, "etcd-override-0": fine}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	c := kubernetes.NewForConfigOrDie(s.Config).CoreV1().RESTClient()
	for exclude, want := range map[string][]string{
		"etcd":            {"[+]etcd excluded: ok", "[+]etcd-override-0 excluded with etcd: ok"},
		"etcd-override-0": {"[+]etcd ok", "[+]etcd-override-0 excluded: ok"},
		"nothing":         {"[+]etcd ok", "[+]etcd-override-0 ok", `warn: some health checks cannot be excluded: no matches for "nothing"`},
	} {
		raw, err := c.Get().AbsPath("/healthz").Param("verbose", "").Param("exclude", exclude).DoRaw(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(raw), "\n")
		for _, line := range want {
			if !slices.Contains(lines, line) {
				t.Errorf("exclude=%s: no %q in %s", exclude, line, raw)
			}
		}
		if exclude != "nothing" && strings.Contains(string(raw), "warn:") {
			t.Errorf("exclude=%s: %s", exclude, raw)
		}
	}
}
