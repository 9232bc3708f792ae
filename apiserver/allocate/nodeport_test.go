package allocate

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/api/apitest"
)

// ports reads "80/TCP:30080 80/UDP": number, protocol and the node port that is asked for.
func ports(t *testing.T, text string) []corev1.ServicePort {
	t.Helper()
	var out []corev1.ServicePort
	for i, one := range strings.Fields(text) {
		p := corev1.ServicePort{Name: fmt.Sprint("p", i)}
		number, rest, _ := strings.Cut(one, "/")
		protocol, node, named := strings.Cut(rest, ":")
		p.Protocol = corev1.Protocol(protocol)
		fmt.Sscan(number, &p.Port)
		if named {
			fmt.Sscan(node, &p.NodePort)
		}
		out = append(out, p)
	}
	return out
}

// given shows node ports: those asked for, and a letter for each that was given without.
func given(asked, got []corev1.ServicePort) string {
	named, letters, out := map[int32]bool{}, map[int32]string{}, []string{}
	for _, p := range asked {
		named[p.NodePort] = true
	}
	for _, p := range got {
		switch n := p.NodePort; {
		case named[n]:
			out = append(out, fmt.Sprint(n))
		default:
			if letters[n] == "" {
				letters[n] = string(rune('a' + len(letters)))
			}
			out = append(out, letters[n])
		}
	}
	return strings.Join(out, " ")
}

// Which ports share a node port, and who is told of which: as kube-apiserver v1.36 answered.
func TestNodePorts(t *testing.T) {
	const taken, outside = "provided port is already allocated", "provided port is not in the valid range"
	for _, tt := range []struct{ old, asked, want, err string }{
		{asked: "80/TCP 80/UDP 81/TCP", want: "a a b"},
		{asked: "80/TCP 80/TCP", want: "a a"}, // for validation to refuse
		{asked: "80/TCP 80/UDP:30080", want: "30080 30080"},
		{asked: "80/TCP:30080 80/UDP:30081 80/SCTP", want: "30080 30081 30080"},
		{asked: "80/TCP:30080 81/UDP:30080", err: "spec.ports[1].nodePort: Invalid value: 30080: " + taken},
		{asked: "80/TCP 81/TCP:80 80/UDP:80", err: "spec.ports[0].nodePort: Invalid value: 80: " + outside},
		{old: "80/TCP:30080", asked: "80/TCP 80/UDP", want: "30080 a"}, // the first keeps its own, the second gets one
		{old: "80/TCP:30080", asked: "80/TCP:30080 80/UDP 81/UDP:30080", want: "30080 a 30080"},
		{old: "80/TCP:30080", asked: "80/TCP:30081 81/UDP:30081", want: "30081 30081"},
		{old: "80/TCP:30080", asked: "80/TCP:30081 81/TCP:30081", err: "duplicate nodePort: {TCP 30081}"},
		{old: "80/TCP:30080", asked: "80/TCP 81/TCP:99", err: "spec.ports[1].nodePort: Invalid value: 99: " + outside},
	} {
		t.Run(tt.old+" to "+tt.asked, func(t *testing.T) {
			c, set := &apitest.Client{}, func(text string) *corev1.Service {
				return service("s", func(s *corev1.ServiceSpec) {
					s.Type, s.ClusterIP, s.ClusterIPs = "NodePort", "10.96.7.7", []string{"10.96.7.7"}
					s.Ports = ports(t, text)
				})
			}
			asked := set(tt.asked)
			next, old := asked.DeepCopy(), (*corev1.Service)(nil)
			if tt.old != "" {
				old = set(tt.old)
				c.Add(api.Services.Resource, old)
				asked.Spec.Ports = append(asked.Spec.Ports, old.Spec.Ports...)
			}
			_, err := admit(t, New(c, Config{}), next, old)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := given(asked.Spec.Ports, next.Spec.Ports); got != tt.want {
				t.Errorf("node ports %q, want %q", got, tt.want)
			}
		})
	}
}

// A port for health checks is taken when one comes to be needed; who would change it afterwards hears of it from validation.
func TestHealthCheckPortStays(t *testing.T) {
	local := func(port int32) *corev1.Service {
		return service("s", func(s *corev1.ServiceSpec) {
			s.Type, s.ExternalTrafficPolicy, s.HealthCheckNodePort = "LoadBalancer", "Local", port
			s.ClusterIP, s.ClusterIPs, s.Ports[0].NodePort = "10.96.7.7", []string{"10.96.7.7"}, 30080
		})
	}
	next := local(80) // in no range
	if _, err := admit(t, New(&apitest.Client{}, Config{}), next, local(31000)); err != nil || next.Spec.HealthCheckNodePort != 80 {
		t.Errorf("got %v, %d", err, next.Spec.HealthCheckNodePort)
	}
}

// A headless service has no address, and gets none when a second family is added as it gets one.
func TestHeadlessThatGetsAddress(t *testing.T) {
	old := service("s", func(s *corev1.ServiceSpec) { s.ClusterIP, s.ClusterIPs = "None", []string{"None"} })
	old.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	policy := corev1.IPFamilyPolicyRequireDualStack
	next := service("s", func(s *corev1.ServiceSpec) { s.ClusterIP, s.IPFamilyPolicy = "10.96.0.50", &policy })
	if _, err := admit(t, New(&apitest.Client{}, Config{ClusterIPs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00::/112")}}), next, old); err != nil {
		t.Fatal(err)
	}
	if got := next.Spec.ClusterIPs; len(got) != 1 || got[0] != "10.96.0.50" {
		t.Errorf("clusterIPs %v: what there is to refuse is the first", got)
	}
}
