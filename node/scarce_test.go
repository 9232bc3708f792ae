package node

import (
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"clipper/node/devices"
	"clipper/node/kubeletdir"
)

// A machine that has been set up anew does not offer the devices that its node's object tells of; what an
// administrator counts by hand after that stays.
func TestDevicesOfTheFormerMachine(t *testing.T) {
	m, err := devices.New(devices.Config{Dir: kubeletdir.Dir(t.TempDir())})
	if err != nil {
		t.Fatal(err)
	}
	a := &Agent{scarce: scarce{devices: m, joined: &atomic.Bool{}}}
	look := func() string {
		list := func() corev1.ResourceList {
			return corev1.ResourceList{"example.com/device": resource.MustParse("4"), "cpu": resource.MustParse("2")}
		}
		s := corev1.NodeStatus{Capacity: list(), Allocatable: list()}
		a.countDevices(&s)
		device, cpu := s.Allocatable["example.com/device"], s.Capacity["cpu"]
		return device.String() + " " + cpu.String()
	}
	if got := look(); got != "0 2" {
		t.Errorf("at its registration the node has %s", got)
	}
	a.scarce.joined.Store(true)
	if got := look(); got != "4 2" {
		t.Errorf("later it has %s", got)
	}
}
