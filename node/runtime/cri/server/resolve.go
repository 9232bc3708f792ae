package server

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"clipper/node/runtime"
)

// sandbox returns the sandbox whose ID is id or, if that is of one alone, starts with it: tools show IDs cut short.
func (s *Server) sandbox(ctx context.Context, id string) (runtime.SandboxStatus, error) {
	if st, err := s.opts.Runtime.SandboxStatus(ctx, id); err == nil {
		return st, nil
	}
	sandboxes, _, err := s.opts.Runtime.List(ctx)
	if err != nil {
		return runtime.SandboxStatus{}, err
	}
	return match("sandbox", id, sandboxes, func(st *runtime.SandboxStatus) string { return st.ID })
}

// container is sandbox for containers.
func (s *Server) container(ctx context.Context, id string) (runtime.ContainerStatus, error) {
	if st, err := s.opts.Runtime.Status(ctx, id); err == nil {
		return st, nil
	}
	_, containers, err := s.opts.Runtime.List(ctx)
	if err != nil {
		return runtime.ContainerStatus{}, err
	}
	return match("container", id, containers, func(st *runtime.ContainerStatus) string { return st.ID })
}

func match[T any](kind, id string, all []T, idOf func(*T) string) (found T, err error) {
	if id == "" {
		return found, status.Errorf(codes.InvalidArgument, "%s ID should not be empty", kind)
	}
	n := 0
	for i := range all {
		if strings.HasPrefix(idOf(&all[i]), id) {
			found = all[i]
			n++
		}
	}
	switch n {
	case 0:
		return found, fmt.Errorf("an error occurred when try to find %s %q: %w", kind, id, runtime.ErrNotFound)
	case 1:
		return found, nil
	}
	var none T
	return none, fmt.Errorf("%s ID %q stands for %d of them; give more of it", kind, id, n)
}

// names are those of sandboxes and containers that are being made: what two callers make of the same metadata at
// the same time would both be there.
type names struct {
	mu   sync.Mutex
	held map[string]bool
}

// hold reserves name until release is called.
func (n *names) hold(name string) (release func(), err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.held[name] {
		return nil, fmt.Errorf("failed to reserve name %q: name is reserved", name)
	}
	if n.held == nil {
		n.held = map[string]bool{}
	}
	n.held[name] = true
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.held, name)
	}, nil
}

// asJSON renders verbose information.
func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
