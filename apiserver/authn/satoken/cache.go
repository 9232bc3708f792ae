package satoken

import "sync"

// cacheSize bounds the tokens whose signatures are remembered: about 1 KB each.
const cacheSize = 2048

// A tokenCache remembers tokens whose signature was right. It holds no decision: times and bound objects
// are looked at on every use. When it is full it starts again empty, which costs one verification per
// token in use and keeps the common path to one read lock.
type tokenCache struct {
	mu sync.RWMutex
	m  map[string]*claims
}

func (t *tokenCache) get(token string) (*claims, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	c, ok := t.m[token]
	return c, ok
}

func (t *tokenCache) put(token string, c *claims) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil || len(t.m) >= cacheSize {
		t.m = make(map[string]*claims)
	}
	t.m[token] = c
}
