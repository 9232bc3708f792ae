package fairness

import (
	"maps"
	"slices"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
)

// A setup is the configuration that requests are classified by. It never changes.
type setup struct {
	flows    []*flow // in order of precedence
	catchAll *flow
	levels   map[string]*level
}

// A flow is a FlowSchema with its level.
type flow struct {
	*flowStats
	schema *flowcontrolv1.FlowSchema
	level  *level
	// UIDs, as a header's value.
	uid, levelUID []string
}

// match returns the first schema that is about r. One always is: the last resort is catch-all.
func (s *setup) match(r *Request) *flow {
	for _, f := range s.flows {
		if matches(f.schema, r) {
			return f
		}
	}
	return s.catchAll
}

// digest replaces the configuration by what the objects say, and returns the schemas whose level is missing.
// Objects that must be there are imagined while they are not.
func (c *Controller) digest(schemas []*flowcontrolv1.FlowSchema, objects []*flowcontrolv1.PriorityLevelConfiguration) (dangling map[string]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := &setup{levels: c.levels(objects)}
	dangling = map[string]bool{}
	c.divide(next.levels)
	for _, s := range slices.SortedFunc(slices.Values(withMandatory(schemas, bootstrap.MandatoryFlowSchemas)), byPrecedence) {
		name := s.Spec.PriorityLevelConfiguration.Name
		l := next.levels[name]
		if l == nil || l.gone {
			dangling[s.Name] = true
			continue
		}
		f := &flow{flowStats: c.stats(name, s.Name), schema: s, level: l, uid: []string{string(s.UID)}, levelUID: []string{string(l.object.UID)}}
		next.flows = append(next.flows, f)
		if s.Name == flowcontrolv1.FlowSchemaNameCatchAll {
			next.catchAll = f
		}
	}
	c.current.Store(next)
	return dangling
}

// withMandatory adds the objects that a server cannot do without.
func withMandatory[T interface{ GetName() string }](objects, mandatory []T) []T {
	out := slices.Clone(objects)
	for _, m := range mandatory {
		if !slices.ContainsFunc(objects, func(o T) bool { return o.GetName() == m.GetName() }) {
			out = append(out, m)
		}
	}
	return out
}

// levels returns a level for each object: the present one if there is one of its name. Levels that are no
// longer wanted stay until they are empty.
func (c *Controller) levels(objects []*flowcontrolv1.PriorityLevelConfiguration) map[string]*level {
	old := map[string]*level{}
	if s := c.current.Load(); s != nil {
		old = s.levels
	}
	next := map[string]*level{}
	for _, p := range withMandatory(objects, bootstrap.MandatoryPriorityLevelConfigurations) {
		err := check(p)
		l := old[p.Name]
		if l == nil && err == nil {
			l, err = newLevel(p, c.now)
		}
		if err != nil {
			c.config.Log.Warn("priority level is left out", "prioritylevel", p.Name, "err", err)
			continue
		}
		l.object, l.gone = p, false
		next[p.Name] = l
	}
	for name, l := range old {
		if next[name] == nil && !l.idle() {
			l.gone = true
			next[name] = l
		}
	}
	return next
}

// divide gives every level its limits, and its seats for now.
func (c *Controller) divide(levels map[string]*level) {
	sum := 0.0
	for _, l := range levels {
		nominal, _, _ := shares(&l.object.Spec)
		sum += float64(nominal)
	}
	for _, l := range levels {
		l.entitle(c.config.Seats, max(1, sum))
	}
	c.borrow(levels)
}

// borrow looks back at the last period and decides who has how many seats in the next one.
func (c *Controller) borrow(levels map[string]*level) {
	names := slices.Sorted(maps.Keys(levels))
	demands := make([]demand, len(names))
	for i, name := range names {
		levels[name].observe()
		demands[i] = levels[name].demand
	}
	seats, factor, err := limits(demands)
	if err != nil {
		c.config.Log.Error("seats stay as they are", "err", err)
	}
	c.factor = factor
	for i, name := range names {
		l := levels[name]
		now := l.current
		if err == nil {
			now = seats[i]
		}
		if err := l.apply(now); err != nil {
			c.config.Log.Error("priority level keeps its queues", "prioritylevel", name, "err", err)
		}
	}
}

// rebalance is borrow for the present configuration. It drops levels that have drained.
func (c *Controller) rebalance() (drained bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	levels := c.current.Load().levels
	c.borrow(levels)
	for _, l := range levels {
		drained = drained || l.gone && l.idle()
	}
	return drained
}
