package admission

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"clipper/api"
)

// A Plugin is one plug-in under the name by which upstream's flags and metrics know it. One without a name
// is none upstream but part of a kind's own strategy: it runs once for each write and is not measured.
type Plugin struct {
	Name     string
	Mutate   Mutator   // nil: changes nothing
	Validate Validator // nil: refuses nothing
	Examine  Examiner  // nil: examines nothing
}

// A Chain runs the plug-ins of a server in order. A nil Chain admits everything.
type Chain struct {
	mutators   []step[Mutator]
	strategies []Mutator // of the plug-ins without a name: they run when the others are done
	validators []step[Validator]
	examiners  []Examiner // few
	metrics    *metrics
}

type step[T any] struct {
	name   string
	do     T
	series *series
}

// NewChain returns the chain of the plug-ins, in the given order.
func NewChain(plugins ...Plugin) *Chain {
	c := &Chain{metrics: newMetrics()}
	for _, p := range plugins {
		switch {
		case p.Mutate == nil:
		case p.Name == "":
			c.strategies = append(c.strategies, p.Mutate)
		default:
			c.mutators = append(c.mutators, step[Mutator]{p.Name, p.Mutate, &series{}})
		}
		if p.Validate != nil {
			c.validators = append(c.validators, step[Validator]{p.Name, p.Validate, &series{}})
		}
		if p.Examine != nil {
			c.examiners = append(c.examiners, p.Examine)
		}
	}
	return c
}

// Admit lets the mutators have their say. If one of them asks for it, all look once more.
func (c *Chain) Admit(ctx context.Context, a *Attributes) error {
	if c == nil {
		return nil
	}
	begun := time.Now()
	err := c.mutate(ctx, a)
	if err == nil && a.record != nil && a.record.GetReinvocationContext().ShouldReinvoke() {
		a.record.GetReinvocationContext().SetIsReinvoke()
		err = c.mutate(ctx, a)
	}
	c.metrics.step(&c.metrics.mutating, mutating, a.Operation, begun, err)
	a.annotate(ctx)
	for i := 0; err == nil && i < len(c.strategies); i++ {
		err = c.strategies[i].Admit(ctx, a)
	}
	return err
}

func (c *Chain) mutate(ctx context.Context, a *Attributes) error {
	last := time.Now()
	for i := range c.mutators {
		s := &c.mutators[i]
		err := s.do.Admit(ctx, a)
		last = c.metrics.plugin(s.series, s.name, mutating, a.Operation, last, err)
		if err != nil {
			return err
		}
	}
	return nil
}

// Examiner returns who examines writes of r, or nil.
func (c *Chain) Examiner(r api.Resource) Examiner {
	if c == nil {
		return nil
	}
	for _, e := range c.examiners {
		if e.Examines() == r {
			return e
		}
	}
	return nil
}

// Validate asks the validators, until one refuses.
func (c *Chain) Validate(ctx context.Context, a *Attributes) error {
	if c == nil {
		return nil
	}
	begun := time.Now()
	var err error
	for i, last := 0, begun; err == nil && i < len(c.validators); i++ {
		s := &c.validators[i]
		err = s.do.Validate(ctx, a)
		last = c.metrics.plugin(s.series, s.name, validating, a.Operation, last, err)
	}
	c.metrics.step(&c.metrics.validating, validating, a.Operation, begun, err)
	a.annotate(ctx)
	return err
}

// Collector returns the chain's metrics, under upstream's names.
func (c *Chain) Collector() prometheus.Collector { return c.metrics }
