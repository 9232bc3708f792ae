package h2

import (
	"slices"
	"testing"
)

// TestTurnsAreInOrder: streams of which nothing has been sent have their turns before the others, each kind in order.
func TestTurnsAreInOrder(t *testing.T) {
	var q queue
	for _, id := range []uint32{1, 2, 13, 3, 11, 12} {
		q.wait(&stream{id: id, begun: id < 10})
	}
	order := func(wanted ...uint32) {
		t.Helper()
		var is []uint32
		for _, st := range q.waiting {
			is = append(is, st.id)
		}
		if !slices.Equal(is, wanted) {
			t.Errorf("%d, not %d", is, wanted)
		}
	}
	order(13, 11, 12, 1, 2, 3)
	q.leave(1)
	q.leave(3)
	order(13, 12, 1, 3)
	q.leave(0)
	q.wait(&stream{id: 14})
	order(12, 14, 1, 3)
	q.leave(0)
	q.leave(0)
	q.leave(0)
	q.wait(&stream{id: 15})
	order(15, 3)
}
