package client

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"clipper/node/runtime"
)

// relist is how often the runtime's lists are looked at. Upstream's figure.
const relist = time.Second

// Events delivers state changes until ctx ends.
func (r *Runtime) Events(ctx context.Context) <-chan runtime.Event { return r.hub.Subscribe(ctx) }

// Run tells of what changes until ctx ends.
func (r *Runtime) Run(ctx context.Context) error {
	hint := make(chan struct{}, 1)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.listen(ctx, hint) })
	group.Go(func() error { return r.compare(ctx, hint) })
	return group.Wait()
}

// listen takes the runtime's events as hints to look at the lists at once. What they tell is not relied on:
// runtimes share one stream among all who listen.
func (r *Runtime) listen(ctx context.Context, hint chan<- struct{}) error {
	for {
		err := r.stream(ctx, hint)
		if ctx.Err() != nil || status.Code(err) == codes.Unimplemented {
			return nil // the lists are looked at anyway
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(relist):
		}
	}
}

func (r *Runtime) stream(ctx context.Context, hint chan<- struct{}) error {
	events, err := r.service.GetContainerEvents(ctx, &runtimeapi.GetEventsRequest{})
	if err != nil {
		return err
	}
	for {
		if _, err := events.Recv(); err != nil {
			return err
		}
		select {
		case hint <- struct{}{}:
		default:
		}
	}
}

// compare looks at the lists now and then, and at once when told to.
func (r *Runtime) compare(ctx context.Context, hint <-chan struct{}) error {
	var before snapshot
	failing := false
	for {
		now, err := r.snapshot(ctx)
		switch {
		case err == nil:
			for _, e := range now.since(before) {
				r.hub.Publish(e)
			}
			before, failing = now, false
		case ctx.Err() == nil && !failing && !errors.Is(err, context.Canceled):
			failing = true
			slog.Warn("The container runtime does not answer", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(relist):
		case <-hint:
		}
	}
}

// A snapshot is the state of everything by ID, as an event would tell it.
type snapshot map[string]runtime.Event

func (r *Runtime) snapshot(ctx context.Context) (snapshot, error) {
	pods, containers, err := r.lists(ctx)
	if err != nil {
		return nil, err
	}
	out := make(snapshot, len(pods)+len(containers))
	for _, p := range pods {
		st := r.sandboxStatus(p)
		e := runtime.Event{PodUID: st.PodUID, SandboxID: st.ID, State: runtime.Exited}
		if st.Ready {
			e.State = runtime.Running
		}
		out[p.Id] = e
	}
	for _, c := range containers {
		sandbox, uid := r.owner(c.Id)
		out[c.Id] = runtime.Event{PodUID: uid, SandboxID: sandbox, ContainerID: c.Id, State: states[c.State]}
	}
	return out, nil
}

// since returns what is new or gone compared with before. The first snapshot has nothing to be compared with.
func (s snapshot) since(before snapshot) []runtime.Event {
	if before == nil {
		return nil
	}
	var out []runtime.Event
	for id, e := range s {
		if old, ok := before[id]; !ok || old.State != e.State {
			out = append(out, e)
		}
	}
	for id, e := range before {
		if _, ok := s[id]; !ok {
			e.State = runtime.Exited
			out = append(out, e)
		}
	}
	return out
}
