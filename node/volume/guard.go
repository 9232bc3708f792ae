package volume

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A guard bounds calls of the kernel that may never return, as those about a mount whose server is gone. What
// hangs is left behind, once for each key: as long as it does, no other call is made for that key.
type guard struct {
	mu      sync.Mutex
	hanging map[string]bool
	timeout time.Duration
}

// hangTimeout is how long the kernel may take. It is as long as upstream gives to drivers.
const hangTimeout = 2 * time.Minute

func newGuard(timeout time.Duration) *guard {
	return &guard{hanging: map[string]bool{}, timeout: timeout}
}

// do calls fn and returns its result, or an error once ctx or the time is over.
func (g *guard) do(ctx context.Context, key string, fn func() error) error {
	g.mu.Lock()
	if g.hanging[key] {
		g.mu.Unlock()
		return fmt.Errorf("%s does not answer: an earlier attempt still hangs", key)
	}
	g.hanging[key] = true
	g.mu.Unlock()
	done := make(chan error, 1)
	go func() { // nobody can end it: it ends when the kernel lets it
		err := fn()
		g.mu.Lock()
		delete(g.hanging, key)
		g.mu.Unlock()
		done <- err
	}()
	timer := time.NewTimer(g.timeout)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return fmt.Errorf("%s does not answer within %v", key, g.timeout)
	}
}
