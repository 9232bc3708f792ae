package volume

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A guard bounds calls of the kernel that may never return, as those about a mount whose server is gone. What
// hangs is left behind, and as long as it does, no other call is made for the same key: at most those that had
// begun by then are lost.
type guard struct {
	mu      sync.Mutex
	hanging map[string]int // calls that nobody waits for any more
	timeout time.Duration
}

// hangTimeout is how long the kernel may take. It is as long as upstream gives to drivers.
const hangTimeout = 2 * time.Minute

func newGuard(timeout time.Duration) *guard {
	return &guard{hanging: map[string]int{}, timeout: timeout}
}

// do calls fn and returns its result, or an error once ctx or the time is over.
func (g *guard) do(ctx context.Context, key string, fn func() error) error {
	g.mu.Lock()
	hangs := g.hanging[key] > 0
	g.mu.Unlock()
	if hangs {
		return fmt.Errorf("%s does not answer: an earlier attempt still hangs", key)
	}
	done := make(chan error, 1)
	go func() { done <- fn() }() // nobody can end it: it ends when the kernel lets it
	timer := time.NewTimer(g.timeout)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		g.abandon(key, done)
		return ctx.Err()
	case <-timer.C:
		g.abandon(key, done)
		return fmt.Errorf("%s does not answer within %v", key, g.timeout)
	}
}

// abandon notes a call that hangs until it no longer does.
func (g *guard) abandon(key string, done <-chan error) {
	g.mu.Lock()
	g.hanging[key]++
	g.mu.Unlock()
	go func() {
		<-done
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.hanging[key]--; g.hanging[key] == 0 {
			delete(g.hanging, key)
		}
	}()
}
