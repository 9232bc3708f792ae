package queue

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"clipper/api"
)

// run starts q for the length of the test.
func run(t *testing.T, q *Queue[string], sources ...Source) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- q.Run(ctx, sources...) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
}

func TestKeysAreMergedAndNeverWorkedOnTwiceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started, release := make(chan string), make(chan struct{})
		q := New("test", 4, func(_ context.Context, k string) error {
			started <- k
			<-release
			return nil
		})
		q.Add("a")
		q.Add("a") // before Run
		run(t, q)
		if k := <-started; k != "a" {
			t.Errorf("started %s", k)
		}
		q.Add("a")
		q.Add("a") // again while it is worked on: once more, later
		synctest.Wait()
		select {
		case k := <-started:
			t.Errorf("%s is worked on twice at once", k)
		default:
		}
		release <- struct{}{}
		<-started
		release <- struct{}{}
		synctest.Wait()
		select {
		case <-started:
			t.Error("worked on three times")
		default:
		}
		if q.running != 0 {
			t.Errorf("%d workers while idle", q.running)
		}
	})
}

func TestWorkersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		now, most := 0, 0
		q := New("test", 3, func(context.Context, string) error {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			now--
			mu.Unlock()
			return nil
		})
		run(t, q)
		for _, k := range "abcdefghij" {
			q.Add(string(k))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if most != 3 {
			t.Errorf("%d at once, want 3", most)
		}
	})
}

func TestFailuresComeAgainAfterGrowingPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		q := New("test", 1, func(context.Context, string) error {
			if at = append(at, time.Since(start)); len(at) == 4 {
				return nil
			}
			return errors.New("no")
		})
		run(t, q)
		q.Add("a")
		time.Sleep(time.Minute)
		synctest.Wait()
		want := []time.Duration{0, 5 * time.Millisecond, 15 * time.Millisecond, 35 * time.Millisecond}
		if len(at) != 4 || at[1] != want[1] || at[2] != want[2] || at[3] != want[3] {
			t.Errorf("tried at %v, want %v", at, want)
		}
		if len(q.fails) != 0 || len(q.timers) != 0 {
			t.Errorf("left over: %v %v", q.fails, q.timers)
		}
	})
}

func TestAddAfterKeepsTheEarliest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		q := New("test", 1, func(context.Context, string) error {
			at = append(at, time.Since(start))
			return nil
		})
		run(t, q)
		q.AddAfter("a", 10*time.Second)
		q.AddAfter("a", 2*time.Second)
		q.AddAfter("a", 5*time.Second)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(at) != 1 || at[0] != 2*time.Second {
			t.Errorf("worked at %v", at)
		}
	})
}

// lateView delivers its state when told to.
type lateView struct {
	api.View
	now chan struct{}
}

func (v lateView) Watch(ctx context.Context, fn func(api.Event)) error {
	<-v.now
	fn(api.Event{Type: api.Synced})
	<-ctx.Done()
	return ctx.Err()
}

func TestWorkWaitsForTheSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		worked := false
		q := New("test", 1, func(context.Context, string) error { worked = true; return nil })
		v := lateView{now: make(chan struct{})}
		q.Add("a")
		run(t, q, Source{View: v})
		if worked {
			t.Error("worked before the source was complete")
		}
		close(v.now)
		synctest.Wait()
		if !worked {
			t.Error("did not work afterwards")
		}
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, fail := make(chan struct{}), errors.New("once")
		q := New("metered", 1, func(context.Context, string) error {
			<-release
			err := fail
			fail = nil
			return err
		})
		run(t, q)
		q.Add("a")
		synctest.Wait()
		q.Add("b")
		time.Sleep(3 * time.Second)
		want := state{depth: 1, undone: 3 * time.Second, longest: 3 * time.Second}
		if got := states()["metered"]; got != want {
			t.Errorf("while one key is worked on and one waits: %+v, want %+v", got, want)
		}
		close(release)
		time.Sleep(time.Second)
		if got := states()["metered"]; got != (state{}) {
			t.Errorf("after the work: %+v", got)
		}
		added, retried := testutil.ToFloat64(adds.WithLabelValues("metered")), testutil.ToFloat64(retries.WithLabelValues("metered"))
		if added != 3 || retried != 1 {
			t.Errorf("%v adds, %v retries; want 3 (one of them again) and 1", added, retried)
		}
		if problems, err := testutil.CollectAndLint(Metrics); err != nil {
			t.Error(problems, err)
		}
	})
}
