package allocate

import (
	"math/rand/v2"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// inFlight is how long something taken is believed to be on its way into the store. No request lives
// longer; what has not appeared by then was lost with it.
const inFlight = 2 * time.Minute

// A pool records who holds which values.
type pool[K comparable] struct {
	now func() time.Time
	// holds says whether the stored service really has the value: it settles doubts in the moment between
	// a commit and its event.
	holds func(types.NamespacedName, K) bool

	mu   sync.Mutex
	held map[K]holding
}

type holding struct {
	by    types.NamespacedName
	since time.Time // zero once a stored service was seen to have it
}

func newPool[K comparable](now func() time.Time, holds func(types.NamespacedName, K) bool) *pool[K] {
	return &pool[K]{now: now, holds: holds, held: map[K]holding{}}
}

// take takes v for a request, unless it is held.
func (p *pool[K]) take(by types.NamespacedName, v K) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.heldLocked(v) {
		return false
	}
	p.held[v] = holding{by: by, since: p.now()}
	return true
}

// has says whether v is held.
func (p *pool[K]) has(v K) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.heldLocked(v)
}

func (p *pool[K]) heldLocked(v K) bool {
	h, ok := p.held[v]
	if !ok {
		return false
	}
	if h.since.IsZero() {
		return p.holds(h.by, v)
	}
	return p.now().Sub(h.since) < inFlight
}

// giveBack undoes take.
func (p *pool[K]) giveBack(v K) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h, ok := p.held[v]; ok && !h.since.IsZero() {
		delete(p.held, v)
	}
}

// settle records that a stored service has the values.
func (p *pool[K]) settle(by types.NamespacedName, values []K) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, v := range values {
		p.held[v] = holding{by: by}
	}
}

// release records that a stored service has v no more.
func (p *pool[K]) release(by types.NamespacedName, v K) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h, ok := p.held[v]; ok && h.since.IsZero() && h.by == by {
		delete(p.held, v)
	}
}

// A span is the offsets of a range. Users ask for particular values in the lower band as a rule, so the
// ones that nobody asked for come from the upper band until that is full.
type span struct{ size, band uint64 }

// offsets yields every offset once: the upper band from a random start, then the lower one.
func (s span) offsets(yield func(uint64) bool) {
	_ = s.from(s.band, s.size, yield) && s.from(0, s.band, yield)
}

func (s span) from(lo, hi uint64, yield func(uint64) bool) bool {
	n := hi - lo
	if n == 0 {
		return true
	}
	start := rand.Uint64N(n)
	for i := range n {
		if !yield(lo + (start+i)%n) {
			return false
		}
	}
	return true
}

// portBands is upstream's split of node ports: min(max(16, size/32), 128) for those asked for.
func portBands(size uint64) span { return bands(size, 32, 128) }

func bands(size, share, most uint64) span {
	if size <= 16 {
		return span{size: size}
	}
	return span{size: size, band: min(max(16, size/share), most)}
}
