package shutdown

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubelet/config/v1beta1"

	"clipper/node/kubeletconfig"
)

func pod(name string, priority int32, grace int64) *corev1.Pod {
	p := &corev1.Pod{}
	p.Name, p.Spec.Priority, p.Spec.TerminationGracePeriodSeconds = name, &priority, &grace
	return p
}

func TestPeriods(t *testing.T) {
	seconds := func(n int) metav1.Duration { return metav1.Duration{Duration: time.Duration(n) * time.Second} }
	for want, change := range map[string]func(*kubeletconfig.Configuration){
		"[]": func(*kubeletconfig.Configuration) {},
		"[{0 20s} {2000000000 10s}]": func(c *kubeletconfig.Configuration) {
			c.ShutdownGracePeriod, c.ShutdownGracePeriodCriticalPods = seconds(30), seconds(10)
		},
		"[{0 0s} {2000000000 30s}]": func(c *kubeletconfig.Configuration) {
			c.ShutdownGracePeriod, c.ShutdownGracePeriodCriticalPods = seconds(30), seconds(30)
		},
		"[{-5 1s} {0 30s} {100 2m0s}]": func(c *kubeletconfig.Configuration) {
			c.ShutdownGracePeriodByPodPriority = []v1beta1.ShutdownGracePeriodByPodPriority{{Priority: 100, ShutdownGracePeriodSeconds: 120}, {Priority: -5, ShutdownGracePeriodSeconds: 1}, {Priority: 0, ShutdownGracePeriodSeconds: 30}}
		},
	} {
		c := kubeletconfig.Default()
		change(c)
		if got := fmt.Sprint(Periods(c)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestGroups(t *testing.T) {
	periods := []Period{{0, time.Second}, {100, 2 * time.Second}, {1000, 3 * time.Second}, {5000, 4 * time.Second}}
	none := &corev1.Pod{}
	none.Name = "none"
	pods := []*corev1.Pod{pod("below", -7, 30), pod("0", 0, 30), none, pod("99", 99, 30), pod("1000", 1000, 30), pod("4999", 4999, 30), pod("above", 9999, 30)}
	var got []string
	for _, g := range groups(periods, pods) {
		var names []string
		for _, p := range g.pods {
			names = append(names, p.Name)
		}
		got = append(got, fmt.Sprintf("%d: %s", g.Priority, strings.Join(names, " ")))
	}
	if text, want := strings.Join(got, "; "), "0: below 0 none 99; 1000: 1000 4999; 5000: above"; text != want {
		t.Errorf("got %s, want %s", text, want)
	}
	g := group{Period: Period{0, 10 * time.Second}}
	for grace, want := range map[int64]time.Duration{5: 5 * time.Second, 10: 10 * time.Second, 30: 10 * time.Second} {
		if got := g.grace(pod("p", 0, grace)); got != want {
			t.Errorf("a pod that asks for %d s gets %v, want %v", grace, got, want)
		}
	}
}
