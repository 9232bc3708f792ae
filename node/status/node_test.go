package status

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// What an administrator or a device plugin counts on a node survives the node's own report.
func TestStatusKeepsExtendedResources(t *testing.T) {
	f := &Facts{Name: "n", Machine: Machine{CPUs: 4, Memory: 8 << 30, Disk: 100 << 30}, MaxPods: 110}
	n := f.Object(time.Unix(1, 0))
	foo := resource.MustParse("5")
	n.Status.Capacity["scheduling.k8s.io/foo"] = foo
	n.Status.Capacity[corev1.ResourceCPU] = resource.MustParse("64") // not theirs to say
	s := f.Status(n, time.Unix(2, 0))
	for name, list := range map[string]corev1.ResourceList{"capacity": s.Capacity, "allocatable": s.Allocatable} {
		if got := list["scheduling.k8s.io/foo"]; got.Cmp(foo) != 0 {
			t.Errorf("%s of the extended resource is %s", name, got.String())
		}
		if got := list[corev1.ResourceCPU]; got.Value() != 4 {
			t.Errorf("%s of CPU is %s", name, got.String())
		}
	}
}

func TestSharedDiskIsNobodysToAskFor(t *testing.T) {
	for shared, want := range map[bool]bool{false: true, true: false} {
		f := &Facts{Machine: Machine{Disk: 1 << 30}, SharedDisk: shared}
		if _, got := f.Capacity()[corev1.ResourceEphemeralStorage]; got != want {
			t.Errorf("shared %v: ephemeral storage is counted: %v", shared, got)
		}
	}
}
