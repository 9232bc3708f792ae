package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
)

// sched makes nodes that nobody runs, then pods, and takes the time until all are bound.
func (l *load) sched(ctx context.Context) {
	run("nodes", l.nodes, l.c, func(i int) error { return l.hollowNode(ctx, i) })
	b := &bindings{want: int64(l.pods), done: make(chan time.Time, 1), seen: map[string]bool{}}
	go l.countBindings(ctx, b) // ends with the program
	start := time.Now()
	run("pods", l.pods, l.c, func(i int) error {
		_, err := l.cs.CoreV1().Pods(l.ns).Create(ctx, zonedPod(i), metav1.CreateOptions{})
		return err
	})
	var end time.Time
	select {
	case end = <-b.done:
	case <-time.After(10 * time.Minute):
		end = time.Now()
	}
	bound := b.bound.Load()
	fmt.Printf("sched nodes=%d pods=%d bound=%d watch_restarts=%d pods_per_s=%.0f (creation to last binding)\n",
		l.nodes, l.pods, bound, b.restarts.Load(), float64(bound)/end.Sub(start).Seconds())
}

// hollowNode makes a node that is Ready, has room and no taints. Controllers write it at the same time.
func (l *load) hollowNode(ctx context.Context, i int) error {
	name, nodes := fmt.Sprintf("hollow-%05d", i), l.cs.CoreV1().Nodes()
	if _, err := nodes.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": fmt.Sprintf("z%d", i%3)}}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	change := func(fn func(*corev1.Node) error) error {
		return retry.RetryOnConflict(retry.DefaultRetry, func() error {
			n, err := nodes.Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			return fn(n)
		})
	}
	room := corev1.ResourceList{"cpu": resource.MustParse("64"), "memory": resource.MustParse("256Gi"), "pods": resource.MustParse("250")}
	if err := change(func(n *corev1.Node) error {
		n.Status = corev1.NodeStatus{Capacity: room, Allocatable: room, Conditions: []corev1.NodeCondition{
			{Type: "Ready", Status: "True", LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now()}}}
		_, err := nodes.UpdateStatus(ctx, n, metav1.UpdateOptions{})
		return err
	}); err != nil {
		return err
	}
	return change(func(n *corev1.Node) error {
		if len(n.Spec.Taints) == 0 {
			return nil
		}
		n.Spec.Taints = nil
		_, err := nodes.Update(ctx, n, metav1.UpdateOptions{})
		return err
	})
}

// zonedPod may only run on a third of the nodes.
func zonedPod(i int) *corev1.Pod {
	token := false
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("p-%d", i), Labels: map[string]string{"app": fmt.Sprintf("a%d", i%50)}},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: &token,
			NodeSelector:                 map[string]string{"topology.kubernetes.io/zone": fmt.Sprintf("z%d", i%3)},
			Containers: []corev1.Container{{Name: "c", Image: "none/none:1", Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{"cpu": resource.MustParse("100m"), "memory": resource.MustParse("200Mi")}}}},
		}}
}

// bindings counts pods that have a node.
type bindings struct {
	bound, restarts atomic.Int64
	want            int64
	done            chan time.Time // when the last was bound
	seen            map[string]bool
}

func (b *bindings) mark(p *corev1.Pod) {
	if p.Spec.NodeName == "" || b.seen[p.Name] {
		return
	}
	b.seen[p.Name] = true
	if b.bound.Add(1) == b.want {
		b.done <- time.Now()
	}
}

// countBindings begins again with a list whenever the server ends the watch.
func (l *load) countBindings(ctx context.Context, b *bindings) {
	pods := l.cs.CoreV1().Pods(l.ns)
	for ; b.bound.Load() < b.want; b.restarts.Add(1) {
		all, err := pods.List(ctx, metav1.ListOptions{})
		must(err)
		for i := range all.Items {
			b.mark(&all.Items[i])
		}
		w, err := pods.Watch(ctx, metav1.ListOptions{ResourceVersion: all.ResourceVersion})
		must(err)
		for e := range w.ResultChan() {
			if p, ok := e.Object.(*corev1.Pod); ok {
				b.mark(p)
			}
		}
	}
}
