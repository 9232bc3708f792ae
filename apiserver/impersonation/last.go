package impersonation

import "sync"

// lastSize bounds the users whose way is remembered.
const lastSize = 10_000

// lastModes remembers which mode worked for a user. It grants nothing: it only orders what is tried. When it is full
// it starts again empty.
type lastModes struct {
	mu sync.Mutex
	m  map[string]int
}

func (l *lastModes) get(user string) (mode int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	mode, ok = l.m[user]
	return mode, ok
}

func (l *lastModes) set(user string, mode int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.m == nil || len(l.m) >= lastSize {
		l.m = map[string]int{}
	}
	l.m[user] = mode
}
