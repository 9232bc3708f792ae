package embedded

import (
	"sync"

	"clipper/node/runtime"
	"clipper/node/runtime/embedded/wire"
	"clipper/node/runtime/events"
)

// A cache is what the agent knows of the shim's records: the newest of what the watch and the answers to
// requests have told, by revision.
type cache struct {
	mu         sync.Mutex
	live       bool // the watch keeps it complete
	sandboxes  map[string]wire.Sandbox
	containers map[string]wire.Container
	removed    map[string]uint64 // answers that said "gone", until the watch says so too
	hub        events.Hub
}

func newCache() *cache {
	return &cache{
		sandboxes: map[string]wire.Sandbox{}, containers: map[string]wire.Container{},
		removed: map[string]uint64{},
	}
}

// replace takes the watch's first message: everything.
func (c *cache) replace(resp *wire.Response) {
	c.mu.Lock()
	defer c.mu.Unlock()
	present := map[string]bool{}
	for _, r := range resp.Sandboxes {
		present[r.ID] = true
	}
	for _, r := range resp.Containers {
		present[r.ID] = true
	}
	for id, r := range c.sandboxes {
		if !present[id] && r.Rev <= resp.Rev { // else it is newer than the message: an answer told it
			delete(c.sandboxes, id)
		}
	}
	for id, r := range c.containers {
		if !present[id] && r.Rev <= resp.Rev { // removed while nobody watched
			delete(c.containers, id)
			c.hub.Publish(runtime.Event{PodUID: r.PodUID, SandboxID: r.SandboxID, ContainerID: id, State: runtime.Exited})
		}
	}
	clear(c.removed)
	c.live = true
	c.applyLocked(resp)
}

// update takes a later message of the watch.
func (c *cache) update(resp *wire.Response) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.applyLocked(resp)
	for _, r := range resp.Removed {
		c.removeLocked(r)
		delete(c.removed, r.ID)
	}
}

// answered takes what the response to a request told.
func (c *cache) answered(resp *wire.Response) {
	if resp == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.applyLocked(resp)
	for _, r := range resp.Removed {
		if c.removeLocked(r) && c.live { // else the watch was quicker
			c.removed[r.ID] = r.Rev
		}
	}
}

func (c *cache) applyLocked(resp *wire.Response) {
	for _, r := range resp.Sandboxes {
		old, known := c.sandboxes[r.ID]
		if known && old.Rev >= r.Rev || c.removed[r.ID] > r.Rev {
			continue
		}
		c.sandboxes[r.ID] = r
		if !known && r.Ready || known && old.Ready != r.Ready {
			c.hub.Publish(runtime.Event{PodUID: r.PodUID, SandboxID: r.ID, State: sandboxState(r.Ready)})
		}
	}
	for _, r := range resp.Containers {
		old, known := c.containers[r.ID]
		if known && old.Rev >= r.Rev || c.removed[r.ID] > r.Rev {
			continue
		}
		c.containers[r.ID] = r
		if !r.Reserved && (!known || old.Reserved || old.State != r.State) {
			c.hub.Publish(runtime.Event{PodUID: r.PodUID, SandboxID: r.SandboxID, ContainerID: r.ID, State: r.State})
		}
	}
}

// sandboxState is the state of a sandbox in terms of events.
func sandboxState(ready bool) runtime.State {
	if ready {
		return runtime.Running
	}
	return runtime.Exited
}

// removeLocked reports whether there was something to remove.
func (c *cache) removeLocked(r wire.Removal) (found bool) {
	if old, ok := c.containers[r.ID]; ok && old.Rev < r.Rev {
		delete(c.containers, r.ID)
		c.hub.Publish(runtime.Event{PodUID: old.PodUID, SandboxID: old.SandboxID, ContainerID: r.ID, State: runtime.Exited})
		found = true
	}
	if old, ok := c.sandboxes[r.ID]; ok && old.Rev < r.Rev {
		delete(c.sandboxes, r.ID)
		c.hub.Publish(runtime.Event{PodUID: old.PodUID, SandboxID: r.ID, State: runtime.Exited})
		found = true
	}
	return found
}

// lost says that the watch has ended.
func (c *cache) lost() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live = false
}

// list returns everything, if it is complete.
func (c *cache) list() (_ []wire.Sandbox, _ []wire.Container, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.live {
		return nil, nil, false
	}
	sandboxes := make([]wire.Sandbox, 0, len(c.sandboxes))
	for _, r := range c.sandboxes {
		sandboxes = append(sandboxes, r)
	}
	containers := make([]wire.Container, 0, len(c.containers))
	for _, r := range c.containers {
		containers = append(containers, r)
	}
	return sandboxes, containers, true
}

func (c *cache) container(id string) (r wire.Container, known, live bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, known = c.containers[id]
	return r, known, c.live
}

func (c *cache) sandbox(id string) (r wire.Sandbox, known, live bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, known = c.sandboxes[id]
	return r, known, c.live
}
