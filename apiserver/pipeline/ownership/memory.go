package ownership

import (
	"cmp"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A key is the digest of a question.
type key [32]byte

// generation is how many answers are remembered before the oldest half is forgotten.
const generation = 512

// A memory holds between one and two generations of answers; one that is asked for again stays.
type memory struct {
	mu         sync.Mutex
	young, old map[key]*answer
}

func (m *memory) get(k key) *answer {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a := m.young[k]; a != nil {
		return a
	}
	a := m.old[k]
	if a != nil {
		m.putLocked(k, a)
	}
	return a
}

func (m *memory) put(k key, a *answer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.putLocked(k, a)
}

func (m *memory) putLocked(k key, a *answer) {
	if len(m.young) >= generation {
		m.old, m.young = m.young, nil
	}
	if m.young == nil {
		m.young = map[key]*answer{}
	}
	m.young[k] = a
}

// An answer is managedFields without their times. Its bytes are shared by every object that it was given to.
type answer struct {
	entries []metav1.ManagedFieldsEntry
	times   []int // where each entry's time comes from: an entry of the live object, or one of those below
}

const (
	timeNone    = -1
	timeNow     = -2
	timeUnknown = -3
)

// maxAnswer is how large an answer may be to be remembered: an object of many names must not stay as long as others.
const maxAnswer = 32 << 10

// size is about how many bytes the answer takes.
func (a *answer) size() (n int) {
	for i := range a.entries {
		if f := a.entries[i].FieldsV1; f != nil {
			n += len(f.Raw)
		}
	}
	return n
}

// answerOf makes an answer of what the library made of the entries before; nil if there is none. The
// library hands times on by pointer, so that is how an old one is known.
func answerOf(before, after []metav1.ManagedFieldsEntry) *answer {
	if len(after) == 0 {
		return nil // nothing is tracked, or it has failed: both are rare, and quick
	}
	a := &answer{entries: slices.Clone(after), times: make([]int, len(after))}
	for i := range a.entries {
		source := timeSource(before, &a.entries[i])
		if source == timeUnknown {
			return nil
		}
		a.times[i], a.entries[i].Time = source, nil
	}
	return a
}

func timeSource(before []metav1.ManagedFieldsEntry, e *metav1.ManagedFieldsEntry) int {
	if e.Time == nil {
		return timeNone
	}
	i := slices.IndexFunc(before, func(b metav1.ManagedFieldsEntry) bool { return b.Time == e.Time })
	switch {
	case i < 0:
		return timeNow
	case before[i].Manager != e.Manager || before[i].Operation != e.Operation || before[i].Subresource != e.Subresource:
		return timeUnknown // two entries share one pointer: the next object's may not
	}
	return i
}

// fill returns the answer with the times of the entries before, in the library's order.
func (a *answer) fill(before []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	out := slices.Clone(a.entries)
	for i, source := range a.times {
		switch source {
		case timeNone:
		case timeNow:
			out[i].Time = &metav1.Time{Time: time.Now().UTC()}
		default:
			out[i].Time = before[source].Time
		}
	}
	if len(out) > 1 {
		slices.SortFunc(out, compareEntries)
	}
	return out
}

// compareEntries orders managers as the library does: appliers first, then by age.
func compareEntries(a, b metav1.ManagedFieldsEntry) int {
	return cmp.Or(
		cmp.Compare(a.Operation, b.Operation),
		cmp.Compare(seconds(a.Time), seconds(b.Time)),
		cmp.Compare(a.Manager, b.Manager),
		cmp.Compare(a.APIVersion, b.APIVersion),
		cmp.Compare(a.Subresource, b.Subresource),
	)
}

func seconds(t *metav1.Time) int64 {
	if t == nil {
		return 0
	}
	return t.Unix()
}
