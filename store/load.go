package store

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"clipper/store/log"
)

// A decoder turns an entry into an item; nil if the store has nothing to do with it.
type decoder func(log.Entry) (*Item, error)

// A content is what a log holds.
type content struct {
	items   []*Item // in the order of their keys; nil where the store has nothing to do with an entry
	puzzles []*puzzle
}

// Entries are decoded in portions of so many, and about so many bytes.
const (
	portionEntries = 256
	portionBytes   = 256 << 10
)

// A portion is entries that are decoded together. Their values lie in one buffer, which the next portion uses again.
type portion struct {
	entries []log.Entry
	values  []byte
}

func (p *portion) add(e log.Entry) {
	start := len(p.values)
	p.values = append(p.values, e.Value...)
	e.Value = p.values[start:len(p.values):len(p.values)]
	p.entries = append(p.entries, e)
}

func (p *portion) full() bool {
	return len(p.entries) == portionEntries || len(p.values) >= portionBytes
}

// A loader decodes what one goroutine reads, by several.
type loader struct {
	s        *Store
	decode   decoder
	ctx      context.Context // ends with the first error
	decoders *errgroup.Group
	idle     chan *portion // as many as there may be at a time
	portion  *portion      // that fills
	found    []*content
}

// load decodes everything that read yields.
func (s *Store) load(read func(fn func(log.Entry) error) (int64, error), decode decoder) (content, int64, error) {
	decoders, ctx := errgroup.WithContext(context.Background())
	l := loader{s: s, decode: decode, ctx: ctx, decoders: decoders, idle: make(chan *portion, runtime.GOMAXPROCS(0)+1)}
	for range cap(l.idle) {
		l.idle <- &portion{}
	}
	revision, err := read(l.add)
	if l.portion != nil {
		l.hand()
	}
	if derr := decoders.Wait(); derr != nil {
		return content{}, 0, derr
	}
	var all content
	for _, c := range l.found {
		all.items, all.puzzles = append(all.items, c.items...), append(all.puzzles, c.puzzles...)
	}
	all.items = slices.DeleteFunc(all.items, func(it *Item) bool { return it == nil })
	return all, revision, err
}

func (l *loader) add(e log.Entry) error {
	if l.portion == nil {
		l.portion = <-l.idle
	}
	if l.portion.add(e); l.portion.full() {
		l.hand()
	}
	return l.ctx.Err()
}

// hand gives the portion to a decoder.
func (l *loader) hand() {
	p, out := l.portion, &content{items: make([]*Item, len(l.portion.entries))}
	l.portion, l.found = nil, append(l.found, out)
	l.decoders.Go(func() error {
		err := l.s.decodeAll(l.ctx, p.entries, out, l.decode)
		p.entries, p.values = p.entries[:0], p.values[:0]
		l.idle <- p
		return err
	})
}

func (s *Store) decodeAll(ctx context.Context, entries []log.Entry, out *content, decode decoder) error {
	for i, e := range entries {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		it, err := decode(e)
		if p := s.puzzle(e, err); p != nil {
			p.entry.Value = bytes.Clone(e.Value) // the buffer is not the entry's
			out.puzzles = append(out.puzzles, p)
			continue
		}
		if err != nil {
			return fmt.Errorf("load store: key %s: %w; restore it from a backup, or remove this key", e.Key, err)
		}
		out.items[i] = it
	}
	return nil
}
