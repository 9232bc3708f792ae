package store

import (
	"sync"
	"sync/atomic"
)

// An EncodingKey names a wire form of an item. Its parts are constants or live as long as their kind, so
// that looking for a form allocates nothing.
type EncodingKey struct {
	Form    string // the media type, say
	Group   string // of the API; events are in two
	Version string // of the API, which an item may be shown in more than one of
	Schema  string // of a custom resource; it may change
}

// An encodingCache keeps the wire forms of one item, each made at most once. It is there while the
// item's event is among its ring's latest: that is when many watchers ask for the same bytes. Outside
// that time the memory would cost more than the encoding.
type encodingCache struct {
	// first is the latest form; the list ends with kept. Nil means that none are kept.
	first atomic.Pointer[encoded]
}

type encoded struct {
	key  EncodingKey
	next *encoded

	once sync.Once
	data []byte
	err  error
}

var kept = &encoded{}

func (c *encodingCache) keep() { c.first.Store(kept) }
func (c *encodingCache) drop() { c.first.Store(nil) }

// Encoded returns what make returns, made once for all who ask with the same key while the item's event
// is among its ring's latest. The bytes are shared and read-only.
func (it *Item) Encoded(key EncodingKey, make func() ([]byte, error)) ([]byte, error) {
	e := it.encodings.entry(key)
	if e == nil {
		return make()
	}
	e.once.Do(func() { e.data, e.err = make() })
	return e.data, e.err
}

// entry returns the place of a form, a new one if need be; nil if none are kept.
func (c *encodingCache) entry(key EncodingKey) *encoded {
	for {
		first := c.first.Load()
		if first == nil {
			return nil
		}
		for e := first; e != kept; e = e.next {
			if e.key == key {
				return e
			}
		}
		e := &encoded{key: key, next: first}
		if c.first.CompareAndSwap(first, e) {
			return e
		}
	}
}
