package volume

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
	"clipper/api/podrefs"
)

// Run keeps volumes current until ctx ends: it follows the objects they come from and renews tokens.
func (m *Manager) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, r := range []api.Resource{api.ConfigMaps.Resource, api.Secrets.Resource} {
		g.Go(func() error {
			return m.cfg.Client.View(r).Watch(ctx, func(ev api.Event) { m.changed(ctx, r, ev) })
		})
	}
	g.Go(func() error { return m.renewTokens(ctx) })
	g.Go(func() error { return m.csi.Run(ctx) })
	g.Go(func() error { return m.watchNode(ctx) })
	g.Go(func() error { return m.upkeep(ctx) })
	return g.Wait()
}

// changed refreshes the pods that refer to an object.
func (m *Manager) changed(ctx context.Context, r api.Resource, ev api.Event) {
	if ev.Type == api.Synced {
		return
	}
	o := ev.Object() // if deleted, an optional source becomes empty, and one that is not keeps its content
	for _, uid := range m.usersOf(podrefs.Ref{Resource: r, Namespace: o.GetNamespace(), Name: o.GetName()}) {
		m.refresh(ctx, uid)
		m.cfg.Changed(uid)
	}
}

func (m *Manager) usersOf(r podrefs.Ref) []types.UID {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]types.UID, 0, len(m.users[r]))
	for uid := range m.users[r] {
		out = append(out, uid)
	}
	return out
}

// tokenRetry is the pause after a token that is due could not be renewed.
const tokenRetry = 10 * time.Second

func (m *Manager) renewTokens(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		due, next := m.tokens.Due(time.Now())
		for uid := range due {
			m.refresh(ctx, uid)
		}
		if len(due) > 0 {
			next = time.Now().Add(tokenRetry)
		}
		timer.Reset(max(time.Until(next), 0))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		case <-m.tokens.News():
		}
	}
}
