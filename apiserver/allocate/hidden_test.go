package allocate

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/api/apitest"
)

// A veil hides something of one resource.
type veil struct {
	api.Client
	resource string // "" once it has been lifted
	lifting  bool   // the next attempt to read succeeds
}

func (v *veil) View(r api.Resource) api.View { return partial{v.Client.View(r), v, r.Name} }

type partial struct {
	api.View
	veil     *veil
	resource string
}

func (p partial) Hides(string) bool { return p.veil.resource == p.resource }

func (p partial) Complete(string) error {
	if p.veil.lifting {
		p.veil.resource = ""
	}
	if p.Hides("") {
		return errors.New("no matching key")
	}
	return nil
}

// TestHidden: what a service may have that cannot be read is given to nobody; what needs nothing goes on.
func TestHidden(t *testing.T) {
	nodePort := func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort }
	headless := func(s *corev1.ServiceSpec) { s.ClusterIP = corev1.ClusterIPNone }
	stored := service("stored", func(s *corev1.ServiceSpec) {
		nodePort(s)
		s.ClusterIP, s.ClusterIPs, s.Ports[0].NodePort = "10.96.0.10", []string{"10.96.0.10"}, 30053
	})
	for _, hidden := range []string{"services", "ipaddresses"} {
		under := &apitest.Client{}
		under.Add(api.Services.Resource, stored)
		v := &veil{Client: under, resource: hidden}
		a := New(v, Config{})
		held := func(name string, svc, old *corev1.Service, want string) {
			t.Helper()
			_, err := admit(t, a, svc, old)
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s hidden: %s: %v, want %q", hidden, name, err, want)
			}
		}
		held("an address", service("a", nil), nil, "no matching key")
		held("this address", service("b", func(s *corev1.ServiceSpec) { s.ClusterIP = "10.96.0.11" }), nil, "no matching key")
		held("a port", service("c", func(s *corev1.ServiceSpec) { headless(s); nodePort(s) }), nil, "no matching key")
		held("neither", service("d", headless), nil, "")
		held("what it has", stored.DeepCopy(), stored, "")
		v.lifting = true
		held("the first that comes when it can be read again", service("e", nil), nil, "from now on")
		held("the next", service("f", nodePort), nil, "")
	}
}
