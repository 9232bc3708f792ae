package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// podstart times real pods from the create call until a watch shows them Running: n of them one after
// another, then burst of them at once. It deletes what it made.
func (l *load) podstart(ctx context.Context) {
	l.waitForAccount(ctx)
	pods := l.cs.CoreV1().Pods(l.ns)
	running := watchRunning(ctx, pods, l.n+l.burst)
	create := func(name string) {
		_, err := pods.Create(ctx, sleeper(name, l.image), metav1.CreateOptions{})
		must(err)
	}
	lat := make([]time.Duration, l.n)
	for i := range lat {
		t := time.Now()
		create(fmt.Sprintf("one-%d", i))
		next(running)
		lat[i] = time.Since(t)
	}
	slices.Sort(lat)
	t := time.Now()
	for i := range l.burst {
		go create(fmt.Sprintf("burst-%d", i))
	}
	for range l.burst {
		next(running)
	}
	burst := time.Since(t)
	t = time.Now()
	deleteAll(ctx, pods)
	fmt.Printf("podstart n=%d p50_ms=%.0f p99_ms=%.0f burst=%d burst_s=%.2f delete_s=%.2f\n", l.n, lat[l.n/2].Seconds()*1e3,
		lat[l.n*99/100].Seconds()*1e3, l.burst, burst.Seconds(), time.Since(t).Seconds())
}

// waitForAccount: the default service account follows the namespace.
func (l *load) waitForAccount(ctx context.Context) {
	for range 100 {
		if _, err := l.cs.CoreV1().ServiceAccounts(l.ns).Get(ctx, "default", metav1.GetOptions{}); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// watchRunning returns the names of pods as they come to run, each once.
func watchRunning(ctx context.Context, pods clientcorev1.PodInterface, most int) <-chan string {
	l, err := pods.List(ctx, metav1.ListOptions{})
	must(err)
	w, err := pods.Watch(ctx, metav1.ListOptions{ResourceVersion: l.ResourceVersion})
	must(err)
	running := make(chan string, most)
	go func() { // ends with the program
		seen := map[string]bool{}
		for e := range w.ResultChan() {
			if p, ok := e.Object.(*corev1.Pod); ok && p.Status.Phase == corev1.PodRunning && !seen[p.Name] {
				seen[p.Name] = true
				running <- p.Name
			}
		}
	}()
	return running
}

func next(running <-chan string) {
	select {
	case <-running:
	case <-time.After(2 * time.Minute):
		must(fmt.Errorf("a pod was not Running after 2 minutes"))
	}
}

func sleeper(name, image string) *corev1.Pod {
	grace := int64(0)
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
		TerminationGracePeriodSeconds: &grace,
		Containers:                    []corev1.Container{{Name: "c", Image: image, ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"sleep", "3600"}}},
	}}
}

// deleteAll deletes the pods without grace and returns when none is left.
func deleteAll(ctx context.Context, pods clientcorev1.PodInterface) {
	grace := int64(0)
	must(pods.DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &grace}, metav1.ListOptions{}))
	for {
		l, err := pods.List(ctx, metav1.ListOptions{Limit: 1})
		must(err)
		if len(l.Items) == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
