package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	clientcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

func (l *load) configMaps() clientcorev1.ConfigMapInterface { return l.cs.CoreV1().ConfigMaps(l.ns) }

func (l *load) write(ctx context.Context) { l.create(ctx, "write", "w") }

// create makes ConfigMaps that no earlier run has made.
func (l *load) create(ctx context.Context, name, prefix string) {
	stamp, value := time.Now().UnixNano(), strings.Repeat("x", l.size)
	run(name, l.n, l.c, func(i int) error {
		_, err := l.configMaps().Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d-%d", prefix, stamp, i)}, Data: map[string]string{"k": value}}, metav1.CreateOptions{})
		return err
	})
}

func (l *load) read(ctx context.Context) {
	some, err := l.configMaps().List(ctx, metav1.ListOptions{Limit: 1000})
	must(err)
	run("read", l.n, l.c, func(i int) error {
		_, err := l.configMaps().Get(ctx, some.Items[i%len(some.Items)].Name, metav1.GetOptions{})
		return err
	})
}

func (l *load) list(ctx context.Context) {
	var items int
	run("list", l.n, 1, func(int) error {
		all, err := l.configMaps().List(ctx, metav1.ListOptions{})
		if err == nil {
			items = len(all.Items)
		}
		return err
	})
	fmt.Println("items per list:", items)
}

// watch counts what all watchers are told of while ConfigMaps are written.
func (l *load) watch(ctx context.Context) {
	f := &fanOut{want: int64(l.watchers) * int64(l.n), done: make(chan struct{})}
	l.watchAll(ctx, f)
	start := time.Now()
	l.create(ctx, "watch-writes", "v")
	select {
	case <-f.done:
	case <-time.After(2 * time.Minute):
	}
	got := f.got.Load()
	fmt.Printf("watch watchers=%d writes=%d delivered=%d/%d events_per_s=%.0f\n", l.watchers, l.n, got, f.want, float64(got)/time.Since(start).Seconds())
}

// A fanOut counts events that watchers have got.
type fanOut struct {
	got  atomic.Int64
	want int64
	done chan struct{} // closed when all have come
}

// watchAll starts the watchers, from eight clients, and returns when all are there. They end with the program.
func (l *load) watchAll(ctx context.Context, f *fanOut) {
	clients := make([]*kubernetes.Clientset, 8)
	for i := range clients {
		clients[i] = l.client()
	}
	at, err := l.configMaps().List(ctx, metav1.ListOptions{Limit: 1})
	must(err)
	var ready sync.WaitGroup
	for i := range l.watchers {
		ready.Add(1)
		go func() {
			w, err := clients[i%len(clients)].CoreV1().ConfigMaps(l.ns).Watch(ctx, metav1.ListOptions{ResourceVersion: at.ResourceVersion})
			must(err)
			ready.Done()
			for e := range w.ResultChan() {
				// A new namespace may be given its kube-root-ca.crt meanwhile.
				if o, ok := e.Object.(*corev1.ConfigMap); ok && strings.HasPrefix(o.Name, "v-") && f.got.Add(1) == f.want {
					close(f.done)
				}
			}
		}()
	}
	ready.Wait()
}
