package allocate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"clipper/store/log"
)

// Claims keep servers that share one state from giving the same value to two services at a time. A value is
// claimed before it is looked for among the services, and until the service that has it can be seen by everyone.
type Claims interface {
	// Claim reserves a value for this server, unless another one has. When it returns, this server's views show
	// everything that was written before.
	Claim(ctx context.Context, value string) (bool, error)
	Release(ctx context.Context, value string) error
}

// claimsTimeout bounds a claim, and a release. A claim that is not released ends by itself.
const claimsTimeout = 10 * time.Second

// A register is what this server has claimed.
type register struct {
	claims Claims // nil: no other server shares the state

	mu   sync.Mutex
	held map[string]bool
}

// claim says whether this server may give a value to svc's holder: nobody else is about to give it away, and has
// reports it of no other service, of which all can be read. The pool must have it reserved for the request already.
func (t *taking) claim(value string, has func(*corev1.Service) bool) (bool, error) {
	if err := t.complete(); err != nil {
		return false, err
	}
	r := &t.register
	if r.claims == nil {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(t.ctx, claimsTimeout)
	defer cancel()
	ok, err := r.claims.Claim(ctx, value)
	if fault := (*log.FaultError)(nil); errors.As(err, &fault) {
		err = fault // clients read the log's own words, as upstream's
	}
	if err != nil || !ok {
		return false, err
	}
	r.mu.Lock()
	if r.held == nil {
		r.held = map[string]bool{}
	}
	r.held[value] = true
	r.mu.Unlock()
	if slices.ContainsFunc(t.services.List(""), func(svc *corev1.Service) bool { return name(svc) != t.holder && has(svc) }) {
		r.release(value)
		return false, nil
	}
	t.giveBack = append(t.giveBack, func() { r.release(value) })
	return true, nil
}

// release lets other servers have a value, if this one has claimed it.
func (r *register) release(value string) {
	r.mu.Lock()
	held := r.held[value]
	delete(r.held, value)
	r.mu.Unlock()
	if !held {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), claimsTimeout)
	defer cancel()
	if err := r.claims.Release(ctx, value); err != nil {
		slog.Debug("claim not released; it ends by itself", "value", value, "err", err)
	}
}

// settled releases what a stored service has: from now on everyone sees that it does.
func (a *Allocator) settled(svc *corev1.Service) {
	if a.register.claims == nil {
		return
	}
	for _, ip := range addressesOf(svc) {
		a.register.release(claimOf(ip))
	}
	for _, port := range portsOf(svc) {
		a.register.release(claimOf(port))
	}
}

// claimOf names an address or a port among the claims.
func claimOf(value any) string {
	switch value.(type) {
	case int32:
		return fmt.Sprint("nodeports/", value)
	}
	return fmt.Sprint("ips/", value)
}
