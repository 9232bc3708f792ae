package fairness

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
)

// Upstream's figures.
const (
	borrowEvery   = 10 * time.Second
	keepEvery     = time.Minute
	statusPause   = 30 * time.Second // after a schema's status was written too often
	maxUpdates    = 6                // of one schema's status in a minute
	configManager = "api-priority-and-fairness-config-consumer-v1"
)

// Run keeps the objects that every cluster has, and follows all of them, until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	c.keep(ctx)
	group, ctx := errgroup.WithContext(ctx)
	changed := make(chan struct{}, 1)
	changed <- struct{}{}
	notice := func(api.Event) {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	group.Go(func() error { return c.config.Client.View(api.FlowSchemas.Resource).Watch(ctx, notice) })
	group.Go(func() error {
		return c.config.Client.View(api.PriorityLevelConfigurations.Resource).Watch(ctx, notice)
	})
	group.Go(func() error { return c.follow(ctx, changed) })
	return group.Wait()
}

// Ready says whether the configuration has been read.
func (c *Controller) Ready(context.Context) error {
	if !c.synced.Load() {
		return fmt.Errorf("flow schemas and priority levels have not been read yet")
	}
	return nil
}

func (c *Controller) follow(ctx context.Context, changed <-chan struct{}) error {
	borrow, keep := time.NewTicker(borrowEvery), time.NewTicker(keepEvery)
	defer borrow.Stop()
	defer keep.Stop()
	again := time.NewTimer(statusPause)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-keep.C:
			c.keep(ctx)
		case <-borrow.C:
			if c.rebalance() {
				c.sync(ctx)
			}
		case <-again.C:
			c.sync(ctx)
		case <-changed:
			if later := c.sync(ctx); later {
				again.Reset(statusPause)
			}
		}
	}
}

// sync reads all objects and says in their status what it makes of them. later asks to be called again.
func (c *Controller) sync(ctx context.Context) (later bool) {
	schemas := api.FlowSchemas.View(c.config.Client).List("")
	levels := api.PriorityLevelConfigurations.View(c.config.Client).List("")
	dangling := c.digest(schemas, levels)
	c.synced.Store(true)
	for _, s := range schemas {
		condition := danglingCondition(s, dangling[s.Name])
		if condition == nil {
			continue
		}
		if !c.mayUpdate(s.Name, time.Now()) {
			later = true
			continue
		}
		if err := c.setCondition(ctx, s, condition); err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
			c.config.Log.Warn("status of a flow schema not written", "flowschema", s.Name, "err", err)
			later = true
		}
	}
	return later
}

// danglingCondition is what s should say about its level; nil if it does.
func danglingCondition(s *flowcontrolv1.FlowSchema, dangling bool) *flowcontrolv1.FlowSchemaCondition {
	name := s.Spec.PriorityLevelConfiguration.Name
	want := flowcontrolv1.FlowSchemaCondition{
		Type: flowcontrolv1.FlowSchemaConditionDangling, Status: flowcontrolv1.ConditionFalse, Reason: "Found",
		Message: fmt.Sprintf("This FlowSchema references the PriorityLevelConfiguration object named %q and it exists", name),
	}
	if dangling {
		want.Status, want.Reason = flowcontrolv1.ConditionTrue, "NotFound"
		want.Message = fmt.Sprintf("This FlowSchema references the PriorityLevelConfiguration object named %q but there is no such object", name)
	}
	for _, have := range s.Status.Conditions {
		if have.Type == want.Type && have.Status == want.Status && have.Reason == want.Reason && have.Message == want.Message {
			return nil
		}
	}
	return &want
}

// mayUpdate keeps servers that disagree from fighting over a status.
func (c *Controller) mayUpdate(name string, now time.Time) bool {
	var recent []time.Time
	for _, at := range c.updates[name] {
		if now.Sub(at) < time.Minute {
			recent = append(recent, at)
		}
	}
	if len(recent) >= maxUpdates {
		c.updates[name] = recent
		return false
	}
	c.updates[name] = append(recent, now)
	return true
}

// setCondition applies the condition, so that others may own what else is in the status.
func (c *Controller) setCondition(ctx context.Context, s *flowcontrolv1.FlowSchema, condition *flowcontrolv1.FlowSchemaCondition) error {
	condition.LastTransitionTime = metav1.Now()
	patch, err := json.Marshal(map[string]any{
		"apiVersion": flowcontrolv1.SchemeGroupVersion.String(), "kind": "FlowSchema",
		"metadata": map[string]any{"name": s.Name},
		"status":   flowcontrolv1.FlowSchemaStatus{Conditions: []flowcontrolv1.FlowSchemaCondition{*condition}},
	})
	if err != nil {
		return err
	}
	force := true
	_, err = c.config.Client.Patch(ctx, api.FlowSchemas.Resource, "", s.Name, "status", types.ApplyPatchType, patch,
		metav1.PatchOptions{FieldManager: configManager, Force: &force})
	return err
}
