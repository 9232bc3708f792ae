package fairqueue

// A Picture shows a set to people: what is in which queue.
type Picture struct {
	Waiting, Executing       int
	SeatsInUse, SeatsWaiting int
	Meter                    Progress
	Queues                   []QueuePicture
	Served                   []*Item // executing; queue -1 if there is none
}

// A QueuePicture shows one queue.
type QueuePicture struct {
	Executing, SeatsInUse int
	Next, Work            Progress
	Waiting               []*Item
	InitialSeats, Width   int // of those that wait
}

// Picture shows the set as it is. The items are the set's own: look at them while nobody uses it.
func (s *Set) Picture() Picture {
	p := Picture{
		Waiting: s.waiting, Executing: s.executing.len,
		SeatsInUse: s.seatsInUse, SeatsWaiting: s.seatsWaiting, Meter: s.meter,
		Queues: make([]QueuePicture, len(s.queues)),
	}
	for i, q := range s.queues {
		out := &p.Queues[i]
		*out = QueuePicture{Executing: q.executing, SeatsInUse: q.seats, Next: q.next, Work: q.work}
		for it := q.head; it != nil; it = it.next {
			out.Waiting = append(out.Waiting, it)
			out.InitialSeats += it.Work.Seats
			out.Width += it.Work.Width()
		}
	}
	for it := s.executing.head; it != nil; it = it.next {
		p.Served = append(p.Served, it)
	}
	return p
}

// Queue is the index of the queue that the item came through, -1 if there was none.
func (it *Item) Queue() int {
	if it.queue == nil {
		return -1
	}
	return it.queue.index
}
