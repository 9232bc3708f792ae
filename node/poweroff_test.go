package node

import (
	"context"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/node/shutdown"
)

// fakeLogin is a login manager that is told when to shut down.
type fakeLogin struct {
	announced chan bool
	held      chan bool // tells of each time that shutdowns are held back, and no longer
}

func (f *fakeLogin) Allow(context.Context, time.Duration) error     { return nil }
func (f *fakeLogin) Announced(context.Context) (<-chan bool, error) { return f.announced, nil }
func (f *fakeLogin) Close() error                                   { return nil }
func (f *fakeLogin) Hold(context.Context) (release func() error, err error) {
	f.held <- true
	return func() error { f.held <- false; return nil }, nil
}

func (r *rig) ready() corev1.NodeCondition {
	all := r.node().Status.Conditions
	if i := slices.IndexFunc(all, func(c corev1.NodeCondition) bool { return c.Type == corev1.NodeReady }); i >= 0 {
		return all[i]
	}
	return corev1.NodeCondition{}
}

// When the machine is switched off, pods end and the node says so, before the machine may go on; when it is not
// after all, life goes on.
func TestShutdownEndsPods(t *testing.T) {
	login := &fakeLogin{announced: make(chan bool), held: make(chan bool, 8)}
	r := newRig(t)
	r.change = func(o *Options) {
		o.Config.ShutdownGracePeriod = metav1.Duration{Duration: 10 * time.Second}
		o.Login = func(context.Context) (shutdown.Login, error) { return login, nil }
	}
	defer r.start()()
	r.create("a", nil)
	r.phase("a", corev1.PodRunning)
	if !<-login.held {
		t.Error("shutdowns are not held back")
	}
	login.announced <- true
	p := r.phase("a", corev1.PodFailed)
	if p.Status.Reason != "Terminated" || p.Status.Message != "Pod was terminated in response to imminent node shutdown." {
		t.Errorf("a: %+v", p.Status)
	}
	if <-login.held {
		t.Error("the shutdown is held back although no pod runs")
	}
	r.soon("the node says so", func() bool {
		c := r.ready()
		return c.Status == corev1.ConditionFalse && c.Reason == "KubeletNotReady" && c.Message == "node is shutting down"
	})
	r.create("late", nil)
	if p := r.phase("late", corev1.PodFailed); p.Status.Reason != "NodeShutdown" || p.Status.Message != "Pod was rejected: Pod was rejected as the node is shutting down." {
		t.Errorf("late: %+v", p.Status)
	}
	login.announced <- false
	r.soon("the node is ready again", func() bool { return r.ready().Status == corev1.ConditionTrue })
	r.create("b", nil)
	r.phase("b", corev1.PodRunning)
}
