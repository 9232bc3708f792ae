package server

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"clipper/node/runtime"
)

// GetContainerEvents tells of every container and sandbox that is created, started, stopped or deleted from now
// on, in this order for each: the runtime merges what happens in quick succession, so steps that were skipped are
// told too.
func (s *Server) GetContainerEvents(_ *runtimeapi.GetEventsRequest, to grpc.ServerStreamingServer[runtimeapi.ContainerEventResponse]) error {
	ctx, cancel := context.WithCancel(to.Context())
	defer cancel()
	events := s.opts.Runtime.Events(ctx) // before List, so that nothing falls between the two
	told, err := s.stages(ctx)
	if err != nil {
		return err
	}
	for e := range events {
		for _, news := range told.advance(e, s.stage(ctx, e)) {
			if err := to.Send(s.event(ctx, e, news)); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// A stage is how far something is in its life: the events up to it have been told.
type stage int

const (
	unborn stage = iota
	created
	started
	stopped
	deleted
)

var eventTypes = map[stage]runtimeapi.ContainerEventType{
	created: runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT,
	started: runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT,
	stopped: runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT,
	deleted: runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT,
}

func stageOf(state runtime.State) stage {
	switch state {
	case runtime.Running:
		return started
	case runtime.Exited:
		return stopped
	}
	return created
}

func sandboxStage(ready bool) stage {
	if ready {
		return started
	}
	return stopped
}

// stages holds what has been told, by ID.
type stages map[string]stage

func (s *Server) stages(ctx context.Context) (stages, error) {
	sandboxes, containers, err := s.opts.Runtime.List(ctx)
	out := stages{}
	for i := range sandboxes {
		out[sandboxes[i].ID] = sandboxStage(sandboxes[i].Ready)
	}
	for i := range containers {
		out[containers[i].ID] = stageOf(containers[i].State)
	}
	return out, err
}

// stage is how far that which an event is about is now.
func (s *Server) stage(ctx context.Context, e runtime.Event) stage {
	if e.ContainerID == "" {
		sb, err := s.opts.Runtime.SandboxStatus(ctx, e.SandboxID)
		if errors.Is(err, runtime.ErrNotFound) {
			return deleted
		}
		return sandboxStage(sb.Ready)
	}
	c, err := s.opts.Runtime.Status(ctx, e.ContainerID)
	if errors.Is(err, runtime.ErrNotFound) {
		return deleted
	}
	return stageOf(c.State)
}

// advance returns what is to be told of an event's object that is at a stage now.
func (t stages) advance(e runtime.Event, now stage) []stage {
	id := e.ContainerID
	if id == "" {
		id = e.SandboxID
	}
	var news []stage
	for next := t[id] + 1; next <= now; next++ {
		news = append(news, next)
	}
	t[id] = max(t[id], now)
	if now == deleted {
		delete(t, id)
	}
	return news
}

func (s *Server) event(ctx context.Context, e runtime.Event, news stage) *runtimeapi.ContainerEventResponse {
	out := &runtimeapi.ContainerEventResponse{ContainerId: e.ContainerID, ContainerEventType: eventTypes[news], CreatedAt: time.Now().UnixNano()}
	if e.ContainerID == "" {
		out.ContainerId = e.SandboxID // containerd's sandboxes are containers too
	}
	if st, err := s.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: e.SandboxID}); err == nil {
		out.PodSandboxStatus, out.ContainersStatuses = st.Status, st.ContainersStatuses
	}
	return out
}
