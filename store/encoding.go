package store

import (
	"sync"
	"sync/atomic"
)

// An encodingCache keeps the wire forms of one item, each made at most once. It is there while the
// item's event is in the ring: that is when many watchers ask for the same bytes. Outside that time
// the memory would cost more than the encoding.
type encodingCache struct{ p atomic.Pointer[encodings] }

type encodings struct {
	mu   sync.Mutex
	made map[string]*encoded
}

type encoded struct {
	once sync.Once
	data []byte
	err  error
}

func (c *encodingCache) keep() { c.p.Store(&encodings{}) }
func (c *encodingCache) drop() { c.p.Store(nil) }

// Encoded returns what make returns, made once for all who ask with the same key (a media type and
// version, say) while the item's event is in the ring. The bytes are shared and read-only.
func (it *Item) Encoded(key string, make func() ([]byte, error)) ([]byte, error) {
	c := it.encodings.p.Load()
	if c == nil {
		return make()
	}
	e := c.entry(key)
	e.once.Do(func() { e.data, e.err = make() })
	return e.data, e.err
}

func (c *encodings) entry(key string) *encoded {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.made[key]
	if e == nil {
		if c.made == nil {
			c.made = map[string]*encoded{}
		}
		e = &encoded{}
		c.made[key] = e
	}
	return e
}
