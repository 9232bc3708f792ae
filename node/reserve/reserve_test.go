package reserve

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/cpuset"

	"clipper/node/kubeletconfig"
)

var capacity = list("cpu", "4", "memory", "8Gi", "ephemeral-storage", "100Gi", "pods", "110", "hugepages-2Mi", "1Gi")

func list(pairs ...string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		l[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return l
}

func parse(t *testing.T, change func(*kubeletconfig.Configuration)) Reservation {
	t.Helper()
	c := kubeletconfig.Default()
	change(c)
	r, err := Parse(c, cpuset.New(0, 1, 2, 3))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A share is computed as upstream does, in single precision: 10% of 100 GiB is 160 bytes more than a tenth.
func TestAllocatable(t *testing.T) {
	for _, tc := range []struct {
		name                  string
		change                func(*kubeletconfig.Configuration)
		allocatable, enforced corev1.ResourceList
	}{
		{"defaults", func(*kubeletconfig.Configuration) {},
			list("cpu", "4", "memory", "7068Mi", "ephemeral-storage", "96636764000"), list("cpu", "4", "memory", "8Gi")},
		{"all three", func(c *kubeletconfig.Configuration) {
			c.SystemReserved = map[string]string{"cpu": "500m", "memory": "1Gi", "pid": "100"}
			c.KubeReserved = map[string]string{"cpu": "250m", "memory": "512Mi", "ephemeral-storage": "10Gi"}
			c.EvictionHard = map[string]string{"memory.available": "512Mi", "nodefs.available": "20Gi"}
		}, list("cpu", "3250m", "memory", "5Gi", "ephemeral-storage", "70Gi"), list("cpu", "3250m", "memory", "6656Mi")},
		{"named processors replace every other reservation", func(c *kubeletconfig.Configuration) {
			c.ReservedSystemCPUs = "0,2-3"
			c.SystemReserved, c.KubeReserved = map[string]string{"cpu": "500m"}, map[string]string{"cpu": "2"}
		}, list("cpu", "1"), list("cpu", "1")},
		{"never below nothing", func(c *kubeletconfig.Configuration) { c.KubeReserved = map[string]string{"cpu": "9"} }, list("cpu", "0"), list("cpu", "0")},
	} {
		r := parse(t, tc.change)
		expect(t, tc.name+": allocatable", Allocatable(capacity, r.Total(capacity)), tc.allocatable)
		expect(t, tc.name+": enforced", r.Enforceable(capacity), tc.enforced)
	}
}

func expect(t *testing.T, what string, got, want corev1.ResourceList) {
	t.Helper()
	for name, w := range want {
		if g := got[name]; g.Cmp(w) != 0 {
			t.Errorf("%s %s is %s, want %s", what, name, g.String(), w.String())
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for want, change := range map[string]func(*kubeletconfig.Configuration){
		`--system-reserved value failed to parse: cannot reserve "gpu" resource`:                    func(c *kubeletconfig.Configuration) { c.SystemReserved = map[string]string{"gpu": "1"} },
		`--kube-reserved value failed to parse: failed to parse quantity "x" for "cpu" resource`:    func(c *kubeletconfig.Configuration) { c.KubeReserved = map[string]string{"cpu": "x"} },
		`--kube-reserved value failed to parse: resource quantity for "cpu" cannot be negative: -1`: func(c *kubeletconfig.Configuration) { c.KubeReserved = map[string]string{"cpu": "-1"} },
		"unable to parse reserved-cpus list":                                                        func(c *kubeletconfig.Configuration) { c.ReservedSystemCPUs = "a" },
		"reserved-cpus: 3-9 is not a subset of online-cpus: 0-3":                                    func(c *kubeletconfig.Configuration) { c.ReservedSystemCPUs = "3-9" },
		"unsupported eviction signal disk":                                                          func(c *kubeletconfig.Configuration) { c.EvictionHard = map[string]string{"disk": "1"} },
	} {
		c := kubeletconfig.Default()
		change(c)
		if _, err := Parse(c, cpuset.New(0, 1, 2, 3)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want %q", err, want)
		}
	}
}

func TestCheck(t *testing.T) {
	r := parse(t, func(c *kubeletconfig.Configuration) { c.KubeReserved = map[string]string{"cpu": "5", "memory": "1Gi"} })
	err := r.Check(capacity)
	if want := `invalid Node Allocatable configuration. Resource "cpu" has a reservation of 5 but capacity of 4. Expected capacity >= reservation.`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := parse(t, func(*kubeletconfig.Configuration) {}).Check(capacity); err != nil {
		t.Error(err)
	}
}
