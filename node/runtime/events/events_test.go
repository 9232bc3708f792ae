package events

import (
	"context"
	"testing"
	"testing/synctest"

	"clipper/node/runtime"
)

func TestASlowReaderGetsTheLastStateOfEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Hub
		ctx, cancel := context.WithCancel(t.Context())
		in := h.Subscribe(ctx)
		h.Publish(runtime.Event{ContainerID: "a", State: runtime.Created})
		synctest.Wait() // the reader holds this one: nobody has taken it
		for _, s := range []runtime.State{runtime.Running, runtime.Exited} {
			h.Publish(runtime.Event{ContainerID: "a", State: s})
			h.Publish(runtime.Event{ContainerID: "b", State: s})
		}
		want := []runtime.Event{{ContainerID: "a", State: runtime.Created}, {ContainerID: "a", State: runtime.Exited}, {ContainerID: "b", State: runtime.Exited}}
		for _, w := range want {
			if got := <-in; got != w {
				t.Errorf("got %+v, want %+v", got, w)
			}
		}
		cancel()
		if e, open := <-in; open {
			t.Errorf("after the end: %+v", e)
		}
		synctest.Wait()
		if len(h.readers) != 0 {
			t.Error("the reader is still there")
		}
	})
}
