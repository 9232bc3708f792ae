package store

import "context"

// rounds asks the log for its revision on behalf of many readers at a time. A reader must not use an answer
// whose question was asked before the reader came; so whoever comes while a question is under way joins the
// next one.
type rounds struct {
	ask  func(context.Context) (int64, error)
	next chan *round // capacity 1: the round that readers may still join
	wake chan struct{}
	over chan struct{} // closed when nobody answers any more
}

type round struct {
	revision int64
	err      error
	done     chan struct{}
}

func newRounds(ask func(context.Context) (int64, error)) rounds {
	r := rounds{ask: ask, next: make(chan *round, 1), wake: make(chan struct{}, 1), over: make(chan struct{})}
	r.next <- newRound()
	return r
}

func newRound() *round { return &round{done: make(chan struct{})} }

// join waits for the answer to a question that is asked after the call.
func (r rounds) join(ctx context.Context) (int64, error) {
	mine := <-r.next
	r.next <- mine
	select {
	case r.wake <- struct{}{}:
	default: // somebody else has asked for this round
	}
	select {
	case <-mine.done:
		return mine.revision, mine.err
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-r.over:
		return 0, ErrClosed
	}
}

// run asks until ctx ends.
func (r rounds) run(ctx context.Context) {
	defer close(r.over)
	for {
		select {
		case <-r.wake:
		case <-ctx.Done():
			return
		}
		now := <-r.next
		r.next <- newRound()
		now.revision, now.err = r.ask(ctx)
		close(now.done)
	}
}
