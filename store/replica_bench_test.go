package store_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"clipper/store"
	"clipper/store/log/etcd"
	"clipper/store/log/etcd/etcdtest"
)

// benchReplica returns a store on an etcd of so many members.
func benchReplica(b *testing.B, members int) *store.Store {
	b.Helper()
	l, err := etcd.Open(b.Context(), etcd.Config{Endpoints: etcdtest.Start(b, members).Endpoints(), Compaction: -1})
	if err != nil {
		b.Fatal(err)
	}
	o := options()
	o.CheckMutation = false
	s, err := store.OpenShared(b.Context(), l, o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

// BenchmarkCommitOnEtcd is BenchmarkCommit with etcd behind the store.
func BenchmarkCommitOnEtcd(b *testing.B) {
	for _, members := range []int{1, 3} {
		s := benchReplica(b, members)
		var n atomic.Int64
		for _, writers := range []int{1, 64} {
			b.Run(fmt.Sprintf("members=%d/writers=%d", members, writers), func(b *testing.B) {
				b.ReportAllocs()
				together(b, writers, func() error {
					_, err := s.Commit(context.Background(), configMap(n.Add(1)))
					return err
				})
			})
		}
	}
}

// BenchmarkLatestOnEtcd measures reads that show what any server has acknowledged.
func BenchmarkLatestOnEtcd(b *testing.B) {
	s := benchReplica(b, 1)
	w := configMap(0)
	if _, err := s.Commit(b.Context(), w); err != nil {
		b.Fatal(err)
	}
	for _, readers := range []int{1, 64} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			b.ReportAllocs()
			together(b, readers, func() error {
				_, _, err := s.Latest(context.Background(), w.Key)
				return err
			})
		})
	}
}

// together has several callers share b.N calls of fn.
func together(b *testing.B, callers int, fn func() error) {
	b.Helper()
	b.ResetTimer()
	var calls atomic.Int64
	var g errgroup.Group
	for range callers {
		g.Go(func() error {
			for calls.Add(1) <= int64(b.N) {
				if err := fn(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
}
