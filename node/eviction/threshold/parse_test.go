package threshold

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// text renders thresholds for comparison.
func text(ts []Threshold) string {
	show := func(v Value) string {
		if v.Quantity != nil {
			return v.Quantity.String()
		}
		return fmt.Sprintf("%g%%", v.Share*100)
	}
	var out []string
	for _, t := range ts {
		s := string(t.Signal) + "<" + show(t.Value)
		if t.Grace != 0 {
			s += " for " + t.Grace.String()
		}
		if t.MinReclaim != (Value{}) {
			s += " until +" + show(t.MinReclaim)
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

type lines = map[string]string

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   Settings
		want string
	}{
		{"none", Settings{}, ""},
		{"upstream's defaults", Settings{Pods: true, Hard: lines{"memory.available": "100Mi", "nodefs.available": "10%", "nodefs.inodesFree": "5%"}},
			"memory.available<100Mi; nodefs.available<10%; nodefs.inodesFree<5%; allocatableMemory.available<100Mi"},
		{"turned off", Settings{Hard: lines{"memory.available": "0%", "nodefs.available": "100%"}}, ""},
		{"soft with grace and reclaim", Settings{Pods: true, Hard: lines{"memory.available": "150Mi"}, Soft: lines{"memory.available": "300Mi"},
			SoftGrace: lines{"memory.available": "30s"}, MinReclaim: lines{"memory.available": "0", "imagefs.available": "2Gi"}},
			"memory.available<150Mi until +0; memory.available<300Mi for 30s until +0; allocatableMemory.available<150Mi until +0"},
		{"reclaim in percent", Settings{Hard: lines{"imagefs.inodesFree": "5%"}, MinReclaim: lines{"imagefs.inodesFree": "10%"}}, "imagefs.inodesFree<5% until +10%"},
	} {
		got, err := Parse(tc.in)
		if err != nil || text(got) != tc.want {
			t.Errorf("%s: got %q, %v; want %q", tc.name, text(got), err, tc.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for want, in := range map[string]Settings{
		"unsupported eviction signal mem.available":                                       {Hard: lines{"mem.available": "150Mi"}},
		"eviction percentage threshold memory.available must be <= 100%: 120%":            {Hard: lines{"memory.available": "120%"}},
		"eviction percentage threshold memory.available must be >= 0%: -15%":              {Hard: lines{"memory.available": "-15%"}},
		"eviction threshold memory.available must be positive: -150Mi":                    {Hard: lines{"memory.available": "-150Mi"}},
		"eviction threshold memory.available must be positive: 0":                         {Hard: lines{"memory.available": "0"}},
		"quantities must match the regular expression":                                    {Hard: lines{"memory.available": "foo"}},
		"grace period must be specified for the soft eviction threshold memory.available": {Soft: lines{"memory.available": "150Mi"}},
		"invalid eviction grace period specified: -30s, must be a positive value":         {SoftGrace: lines{"memory.available": "-30s"}},
		`time: missing unit in duration "30"`:                                             {SoftGrace: lines{"memory.available": "30"}},
		"negative eviction minimum reclaim specified for memory.available":                {MinReclaim: lines{"memory.available": "-300Mi"}},
		"eviction percentage minimum reclaim memory.available must be positive: 0%":       {MinReclaim: lines{"memory.available": "0%"}},
		"unsupported eviction signal a":                                                   {Hard: lines{"a": "1", "b": "1"}},
	} {
		if _, err := Parse(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want %q", err, want)
		}
	}
}

func TestValueOf(t *testing.T) {
	capacity := resource.MustParse("1000Mi")
	amount := resource.MustParse("3Gi")
	for _, tc := range []struct {
		value Value
		want  string
	}{{Value{Quantity: &amount}, "3Gi"}, {Value{Share: 0.25}, "250Mi"}, {Value{}, "0"}} {
		if got := tc.value.Of(capacity); got.String() != tc.want {
			t.Errorf("got %s, want %s", got.String(), tc.want)
		}
	}
}

func TestSignalsShowInConditions(t *testing.T) {
	for s, want := range map[Signal]corev1.NodeConditionType{
		MemoryAvailable: corev1.NodeMemoryPressure, PodsMemoryAvailable: corev1.NodeMemoryPressure,
		NodeFSInodes: corev1.NodeDiskPressure, ImageFSAvailable: corev1.NodeDiskPressure, ContainerFSInodes: corev1.NodeDiskPressure,
		PIDAvailable: corev1.NodePIDPressure, "other": "",
	} {
		if got := s.Condition(); got != want {
			t.Errorf("%s shows in %q, want %q", s, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("memory.available", "100Mi", "30s", "10%")
	f.Add("nodefs.available", "10%", "-1s", "0")
	f.Fuzz(func(t *testing.T, signal, value, grace, reclaim string) {
		got, err := Parse(Settings{Hard: lines{signal: value}, Soft: lines{signal: value}, SoftGrace: lines{signal: grace}, MinReclaim: lines{signal: reclaim}, Pods: true})
		if err != nil {
			return
		}
		for _, th := range got {
			if q := th.Value.Of(*resource.NewQuantity(1<<40, resource.BinarySI)); q.Sign() < 0 || th.Grace < 0*time.Second || th.Signal.Condition() == "" {
				t.Errorf("%q: %q became %s", signal, value, text(got))
			}
		}
	})
}
