package attachdetach

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestDecide(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	pods := []*corev1.Pod{{}}
	va := func(change func(*storagev1.VolumeAttachment)) *storagev1.VolumeAttachment {
		a := &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(now.Add(-30 * time.Second))}}
		if change != nil {
			change(a)
		}
		return a
	}
	done := va(func(a *storagev1.VolumeAttachment) { a.Status.Attached = true })
	leaving := va(func(a *storagev1.VolumeAttachment) { a.DeletionTimestamp = &metav1.Time{Time: now} })
	refused := va(func(a *storagev1.VolumeAttachment) { a.Status.AttachError = &storagev1.VolumeError{Message: "no"} })
	silent := va(func(a *storagev1.VolumeAttachment) { a.CreationTimestamp = metav1.NewTime(now.Add(-5 * time.Minute)) })
	for _, tc := range []struct {
		name   string
		sites  []site
		shared bool
		want   []step
		wake   time.Duration // 0: none
	}{
		{"wanted", []site{{node: "a", exists: true, pods: pods}}, false, []step{{op: attach, node: "a"}}, attachTimeout},
		{"under way", []site{{node: "a", exists: true, pods: pods, attachment: va(nil)}}, false, nil, 90 * time.Second},
		{"attached", []site{{node: "a", exists: true, pods: pods, attachment: done}}, false, []step{{op: report, node: "a"}}, 0},
		{"at rest", []site{{node: "a", exists: true, ready: true, inUse: true, reported: true, pods: pods, attachment: done}}, false, nil, 0},
		{"refused", []site{{node: "a", exists: true, pods: pods, attachment: refused}}, false, []step{{op: failed, node: "a"}}, 0},
		{"silence", []site{{node: "a", exists: true, pods: pods, attachment: silent}}, false, []step{{op: overdue, node: "a"}}, time.Minute},
		{"wanted while it leaves", []site{{node: "a", exists: true, pods: pods, attachment: leaving}}, false, nil, 0},
		{"wanted by two at once", []site{{node: "a", exists: true, pods: pods}, {node: "b", exists: true, pods: pods}}, false,
			[]step{{op: attach, node: "a"}, {op: conflict, node: "b"}}, attachTimeout},
		{"shared", []site{{node: "a", exists: true, pods: pods}, {node: "b", exists: true, pods: pods}}, true,
			[]step{{op: attach, node: "a"}, {op: attach, node: "b"}}, attachTimeout},
		{"still elsewhere", []site{{node: "a", exists: true, ready: true, inUse: true, reported: true, attachment: done}, {node: "b", exists: true, pods: pods}}, false,
			[]step{{op: conflict, node: "b"}}, 0},
		{"leaves elsewhere", []site{{node: "a", exists: true, attachment: leaving}, {node: "b", exists: true, pods: pods}}, false,
			[]step{{op: conflict, node: "b"}}, 0},
		{"reported, but its attachment was lost", []site{{node: "a", exists: true, reported: true, pods: pods}}, false, []step{{op: attach, node: "a"}}, attachTimeout},
		{"no longer wanted, in use", []site{{node: "a", exists: true, ready: true, inUse: true, reported: true, attachment: done, unwanted: now.Add(-time.Hour)}}, false, nil, 0},
		{"no longer wanted", []site{{node: "a", exists: true, ready: true, reported: true, attachment: done}}, false, []step{{op: detach, node: "a"}}, 0},
		{"the node is silent", []site{{node: "a", exists: true, inUse: true, reported: true, attachment: done, unwanted: now.Add(-time.Minute)}}, false, nil, 5 * time.Minute},
		{"the node is silent for long", []site{{node: "a", exists: true, inUse: true, reported: true, attachment: done, unwanted: now.Add(-6 * time.Minute)}}, false,
			[]step{{op: detach, node: "a", force: true}}, 0},
		{"the node is off", []site{{node: "a", exists: true, outOfService: true, inUse: true, reported: true, attachment: done, unwanted: now}}, false,
			[]step{{op: detach, node: "a", force: true}}, 0},
		{"the node is gone", []site{{node: "a", inUse: true, attachment: done}}, false, []step{{op: detach, node: "a"}}, 0},
		{"told and going", []site{{node: "a", exists: true, attachment: leaving}}, false, nil, 0},
	} {
		p := decide(tc.sites, tc.shared, now)
		if len(p.steps) != len(tc.want) {
			t.Errorf("%s: steps %+v, want %+v", tc.name, p.steps, tc.want)
			continue
		}
		for i := range p.steps {
			if p.steps[i] != tc.want[i] {
				t.Errorf("%s: steps %+v, want %+v", tc.name, p.steps, tc.want)
			}
		}
		if got := p.wake; (tc.wake == 0) != got.IsZero() || (tc.wake != 0 && !got.Equal(now.Add(tc.wake))) {
			t.Errorf("%s: looks again at %v, want %v", tc.name, got.Sub(now), tc.wake)
		}
	}
}

func TestHolders(t *testing.T) {
	pod := func(ns, name string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, UID: types.UID(ns + name)}}
	}
	for _, tc := range []struct {
		pods []*corev1.Pod
		want string
	}{
		{nil, "Volume is already exclusively attached to one node and can't be attached to another"},
		{[]*corev1.Pod{pod("ns", "a"), pod("ns", "b")}, "Volume is already used by pod(s) a, b"},
		{[]*corev1.Pod{pod("ns", "a"), pod("x", "b")}, "Volume is already used by pod(s) a and 1 pod(s) in different namespaces"},
		{[]*corev1.Pod{pod("x", "b")}, "Volume is already used by 1 pod(s) in different namespaces"},
	} {
		if got := holders("ns", tc.pods); got != tc.want {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
}
