package fairqueue

import "time"

// A list holds items in order of arrival.
type list struct {
	head, tail *Item
	len        int
}

func (l *list) push(it *Item) {
	it.prev, it.next = l.tail, nil
	if l.tail != nil {
		l.tail.next = it
	} else {
		l.head = it
	}
	l.tail = it
	l.len++
}

func (l *list) remove(it *Item) {
	if it.prev != nil {
		it.prev.next = it.next
	} else {
		l.head = it.next
	}
	if it.next != nil {
		it.next.prev = it.prev
	} else {
		l.tail = it.prev
	}
	it.prev, it.next = nil, nil
	l.len--
}

// A queue is one of a set's queues: who waits in it, and how far it is in its virtual service.
type queue struct {
	index     int
	head      *Item // of requests; kept beside it because every dispatch looks at it
	requests  list
	waiting   int
	executing int
	seats     int      // in use by its requests
	next      Progress // the meter's reading at which its next request is served, virtually
	work      Progress // of all requests that wait
}

func (q *queue) load() int { return q.waiting + q.executing }

func (q *queue) push(it *Item) {
	q.requests.push(it)
	q.head = q.requests.head
	q.waiting++
	q.work += it.total
}

func (q *queue) remove(it *Item) {
	q.requests.remove(it)
	q.head = q.requests.head
	q.waiting--
	q.work -= it.total
}

// bound keeps a queue from saving up time: what had not arrived could not have been served.
func (q *queue) bound() {
	if q.head != nil && q.next-q.head.arrivedAt < 0 {
		q.next = q.head.arrivedAt
	}
}

// A linger is seats that stay occupied after their request has been answered.
type linger struct {
	until time.Duration
	seats int
	queue *queue
}

// lingerers is a heap by time.
type lingerers []linger

func (h *lingerers) push(l linger) {
	*h = append(*h, l)
	a := *h
	for i := len(a) - 1; i > 0; {
		up := (i - 1) / 2
		if a[up].until <= a[i].until {
			return
		}
		a[up], a[i] = a[i], a[up]
		i = up
	}
}

func (h *lingerers) pop() linger {
	a := *h
	top, last := a[0], len(a)-1
	a[0], a[last] = a[last], linger{}
	a = a[:last]
	*h = a
	for i := 0; ; {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < len(a) && a[child].until < a[least].until {
				least = child
			}
		}
		if least == i {
			return top
		}
		a[i], a[least] = a[least], a[i]
		i = least
	}
}
