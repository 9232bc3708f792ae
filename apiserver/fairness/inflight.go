package fairness

import "sync/atomic"

// A Limit lets a fixed number of reads and of writes run at the same time and rejects what comes beyond.
// It is what a server has when priority and fairness is off. Zero means no limit.
type Limit struct {
	Reads, Writes int64

	reads, writes atomic.Int64
}

// Enter takes a place; if there was one, leave gives it back.
func (l *Limit) Enter(write bool) (leave func(), ok bool) {
	count, limit := &l.reads, l.Reads
	if write {
		count, limit = &l.writes, l.Writes
	}
	if n := count.Add(1); limit > 0 && n > limit {
		count.Add(-1)
		return nil, false
	}
	return func() { count.Add(-1) }, true
}
