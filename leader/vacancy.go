package leader

import (
	"context"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
)

// vacancy waits until the lease can be had: it is not there, nobody holds it, or its holder has said nothing for as
// long as it holds. It returns the resourceVersion of the lease that has lapsed, if that is why.
//
// The view tells of every renewal. So a lease that is given back is taken in milliseconds, and one whose holder is lost
// at the moment that it ends, where candidates that ask every few seconds come up to four and a half later.
func vacancy(ctx context.Context, d Duty) (lapsed string) {
	ctx, stop := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop()
	changes := make(chan *coordinationv1.Lease)
	watching.Go(func() {
		defer close(changes)
		_ = follow(ctx, d, changes) // who cannot watch asks: the elector does that
	})
	ends := time.NewTimer(duration)
	defer ends.Stop()
	for {
		select {
		case l, ok := <-changes:
			if !ok || l == nil || holder(l) == "" || holder(l) == d.Identity {
				return ""
			}
			lapsed = l.ResourceVersion
			ends.Reset(life(l))
		case <-ends.C:
			return lapsed
		}
	}
}

// follow sends every state of the lease, nil for none, until ctx ends.
func follow(ctx context.Context, d Duty, changes chan<- *coordinationv1.Lease) error {
	var last *coordinationv1.Lease
	send := func(l *coordinationv1.Lease) {
		select {
		case changes <- l:
		case <-ctx.Done():
		}
	}
	return d.Client.View(api.Leases.Resource).Watch(ctx, func(e api.Event) {
		switch {
		case e.Type == api.Synced:
			if last == nil {
				send(nil)
			}
		case e.Object().GetNamespace() == metav1.NamespaceSystem && e.Object().GetName() == d.Name:
			last, _ = e.New.(*coordinationv1.Lease)
			send(last)
		}
	})
}

func holder(l *coordinationv1.Lease) string {
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

// life is how long a holder that says nothing stays one: it has said so itself.
func life(l *coordinationv1.Lease) time.Duration {
	if l.Spec.LeaseDurationSeconds == nil {
		return duration
	}
	return time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second
}
