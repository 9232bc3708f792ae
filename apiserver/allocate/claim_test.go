package allocate

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/store/log"
)

// board is the claims of all servers.
type board struct {
	mu     sync.Mutex
	claims map[string]string
}

// serverClaims is one server's access to the board.
type serverClaims struct {
	*board
	name string
}

func (c serverClaims) Claim(_ context.Context, value string) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if by, ok := c.claims[value]; ok && by != c.name {
		return false, nil
	}
	c.claims[value] = c.name
	return true, nil
}

func (c serverClaims) Release(_ context.Context, value string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.claims, value)
	return nil
}

// TestTwoServers: what one server is about to give to a service, another does not give away, nor what it gave before
// the other heard of it.
func TestTwoServers(t *testing.T) {
	c, b := &apitest.Client{}, &board{claims: map[string]string{}}
	one := New(c, Config{Claims: serverClaims{b, "one"}})
	two := New(c, Config{Claims: serverClaims{b, "two"}})
	wanted := func(name string) *corev1.Service {
		return service(name, func(s *corev1.ServiceSpec) {
			s.Type, s.ClusterIP, s.Ports[0].NodePort = "NodePort", "10.96.0.77", 30777
		})
	}
	undo, err := admit(t, one, wanted("a"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admit(t, two, wanted("b"), nil); err == nil || !strings.Contains(err.Error(), "provided IP is already allocated") {
		t.Errorf("an address that the other server is about to give: %v", err)
	}
	undo()
	if len(b.claims) != 0 {
		t.Errorf("after an undo these are claimed: %v", b.claims)
	}
	svc := wanted("b")
	if _, err := admit(t, two, svc, nil); err != nil {
		t.Fatalf("what the other server gave back: %v", err)
	}
	if _, err := api.Services.Create(t.Context(), c, svc); err != nil {
		t.Fatal(err)
	}
	two.settled(svc)
	if len(b.claims) != 0 {
		t.Errorf("when the service is stored these are claimed: %v", b.claims)
	}
	for _, other := range []func(*corev1.ServiceSpec){
		func(s *corev1.ServiceSpec) { s.ClusterIP = "10.96.0.77" },
		func(s *corev1.ServiceSpec) { s.Type, s.Ports[0].NodePort = "NodePort", 30777 },
	} {
		if _, err := admit(t, one, service("c", other), nil); err == nil || !strings.Contains(err.Error(), "already allocated") {
			t.Errorf("a value of a service of which this server's pool has not heard: %v", err)
		}
	}
	if len(b.claims) != 0 {
		t.Errorf("after refusals these are claimed: %v", b.claims)
	}
}

// fullLog is the claims of a log that takes nothing more.
type fullLog struct{ serverClaims }

func (fullLog) Claim(context.Context, string) (bool, error) {
	return false, fmt.Errorf("etcd at http://10.0.0.1: claim ips/10.96.0.77: %w", &log.FaultError{Err: errors.New("etcdserver: mvcc: database space exceeded")})
}

// TestClaimFails: what a claim fails with is said of the service, in the log's own words, as upstream.
func TestClaimFails(t *testing.T) {
	a := New(&apitest.Client{}, Config{Claims: fullLog{}, ClusterIPs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00::/108")}})
	for _, tt := range []struct {
		spec func(*corev1.ServiceSpec)
		want string
	}{
		{nil, `spec.clusterIPs: Invalid value: [""]: failed to allocate IP: etcdserver: mvcc: database space exceeded`},
		{func(s *corev1.ServiceSpec) { s.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicyPreferDualStack) },
			`spec.clusterIPs: Invalid value: ["",""]: failed to allocate IP: etcdserver: mvcc: database space exceeded`},
		{func(s *corev1.ServiceSpec) { s.ClusterIP = "10.96.0.77" },
			`spec.clusterIPs: Invalid value: ["10.96.0.77"]: failed to allocate IP 10.96.0.77: etcdserver: mvcc: database space exceeded`},
	} {
		_, err := admit(t, a, service("a", tt.spec), nil)
		if want := `Service "a" is invalid: ` + tt.want; err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}
