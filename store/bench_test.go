package store_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/store"
	"clipper/store/log/pebble"
)

func benchStore(b *testing.B) *store.Store {
	l, err := pebble.Open(b.TempDir(), nil)
	if err != nil {
		b.Fatal(err)
	}
	o := options()
	o.CheckMutation = false
	return open(b, l, o)
}

func configMap(n int64) store.Write {
	name := fmt.Sprint("cm-", n)
	return store.Write{
		Key: store.Key{Resource: "configmaps", Namespace: "ns", Name: name},
		Object: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name},
			Data: map[string]string{"a": strings.Repeat("x", 512)}},
	}
}

// BenchmarkCommit measures durable creates of a 512 B ConfigMap.
func BenchmarkCommit(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := benchStore(b)
			b.ReportAllocs()
			b.ResetTimer()
			var n atomic.Int64
			var g errgroup.Group
			for range writers {
				g.Go(func() error {
					for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
						if _, err := s.Commit(context.Background(), configMap(i)); err != nil {
							return err
						}
					}
					return nil
				})
			}
			if err := g.Wait(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkWatch measures one event's way to 200 watchers, its encoding included.
func BenchmarkWatch(b *testing.B) {
	o := options()
	o.CheckMutation = false
	o.RingSize = 1 << 20
	o.RingBytes = 1 << 30
	s := open(b, &memory{}, o)
	const watchers = 200
	var g errgroup.Group
	for range watchers {
		w, err := s.Watch("configmaps", "", s.Revision())
		if err != nil {
			b.Fatal(err)
		}
		g.Go(func() error {
			for seen := 0; seen < b.N; {
				events, _, err := w.Next(context.Background())
				if err != nil {
					return err
				}
				for _, e := range events {
					e.New.Encoded(store.EncodingKey{Form: "proto"}, e.New.Object.(*corev1.ConfigMap).Marshal)
				}
				seen += len(events)
			}
			return nil
		})
	}
	b.ResetTimer()
	for i := range b.N {
		mustCommit(b, s, configMap(int64(i)))
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N*watchers)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkGet(b *testing.B) {
	s := benchStore(b)
	for i := range 1000 {
		mustCommit(b, s, configMap(int64(i)))
	}
	k := configMap(500).Key
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, ok := s.Get(k); !ok {
				b.Error("missing")
			}
		}
	})
}

// BenchmarkMemory reports the heap that a ConfigMap of 512 B takes after a restart, all told.
func BenchmarkMemory(b *testing.B) {
	const objects = 20000
	l := &memory{}
	o := options()
	o.CheckMutation = false
	s := open(b, l, o)
	for i := range objects {
		mustCommit(b, s, configMap(int64(i)))
	}
	s.Close()
	for range b.N {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		loaded := open(b, l, o)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/objects, "B/object")
		runtime.KeepAlive(loaded)
	}
}
