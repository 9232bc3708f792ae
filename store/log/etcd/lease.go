package etcd

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// One lease serves many keys: a lease for each event would cost etcd more than the events do. Upstream's figures.
const (
	// DefaultLeaseReuse is how long one is given out, at most.
	DefaultLeaseReuse = time.Minute

	leaseMaxKeys  = 1000
	leaseReusePct = 5 // and at most this part of the keys' life
)

// leases hands out leases for keys that go by themselves.
type leases struct {
	client *clientv3.Client
	now    func() time.Time
	reuse  time.Duration

	mu   sync.Mutex
	last map[time.Duration]*lease // by the life that was asked for
}

type lease struct {
	id     clientv3.LeaseID
	expire time.Time
	keys   int
}

// take returns a lease that ends after ttl, and up to a twentieth later.
func (l *leases) take(ctx context.Context, ttl time.Duration) (clientv3.LeaseID, error) {
	reuse := min(l.reuse, ttl*leaseReusePct/100).Truncate(time.Second)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if have := l.last[ttl]; have != nil && have.keys < leaseMaxKeys && !have.expire.Before(now.Add(ttl)) {
		have.keys++
		return have.id, nil
	}
	whole := ttl + reuse
	granted, err := l.client.Grant(ctx, int64((whole+time.Second-1)/time.Second))
	if err != nil {
		return 0, err
	}
	if l.last == nil {
		l.last = map[time.Duration]*lease{}
	}
	l.last[ttl] = &lease{id: granted.ID, expire: now.Add(whole), keys: 1}
	return granted.ID, nil
}
