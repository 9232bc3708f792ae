// Package attachdetach has volumes attached to the nodes whose pods use them, and detached when no pod of a node does
// any more. It asks by VolumeAttachments, which the drivers' attachers answer, and tells nodes in their status what is
// attached: a node mounts nothing else, and what a node says it uses is not detached. plan decides; Controller acts.
package attachdetach

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// Upstream's figures.
const (
	// forceAfter is how long a node that is not ready may go on using a volume that no pod of it should.
	forceAfter = 6 * time.Minute
	// attachTimeout is how long an attacher may say nothing.
	attachTimeout = 2 * time.Minute
)

// A site is a volume on a node.
type site struct {
	node         string
	exists       bool          // the node does
	ready        bool          // so it says
	outOfService bool          // an administrator has said that it is off
	inUse        bool          // the node says that it uses the volume
	reported     bool          // the node has been told that the volume is attached
	pods         []*corev1.Pod // that want the volume here
	attachment   *storagev1.VolumeAttachment
	unwanted     time.Time // since when no pod wants it; zero while one does
}

// taken reports whether the volume is attached to the node, or may be.
func (s *site) taken() bool { return s.attachment != nil || s.reported }

// An op is a kind of step.
type op int

const (
	attach   op = iota // make the VolumeAttachment
	report             // tell the node that the volume is attached
	detach             // tell the node that it is not, and delete the VolumeAttachment
	conflict           // it cannot be attached while others have it
	failed             // the attacher says so
	overdue            // the attacher says nothing
)

// A step is one thing to do about a volume on a node.
type step struct {
	op    op
	node  string
	force bool // detach although the node says that it uses the volume
}

// A Plan is what to do now, and when to look again at the latest (zero: when something changes).
type plan struct {
	steps []step
	wake  time.Time
}

func (p *plan) wakeAt(t time.Time) {
	if p.wake.IsZero() || t.Before(p.wake) {
		p.wake = t
	}
}

// decide plans for one volume, that several nodes may have at once only if it is shared.
func decide(sites []site, shared bool, now time.Time) plan {
	var p plan
	taken := 0
	for i := range sites {
		if sites[i].taken() {
			taken++
		}
	}
	for i := range sites {
		s := &sites[i]
		switch {
		case len(s.pods) == 0 && s.taken():
			p.leave(s, now)
		case len(s.pods) == 0:
		case s.attachment == nil && taken > 0 && !shared && !(taken == 1 && s.reported):
			p.steps = append(p.steps, step{op: conflict, node: s.node})
		case s.attachment == nil:
			p.steps = append(p.steps, step{op: attach, node: s.node})
			taken++
			p.wakeAt(now.Add(attachTimeout))
		default:
			p.follow(s, now)
		}
	}
	return p
}

// leave detaches a volume as soon as the node no longer uses it, or can no longer be asked.
func (p *plan) leave(s *site, now time.Time) {
	force := s.outOfService
	if s.inUse && s.exists && !force {
		since := s.unwanted
		if since.IsZero() {
			since = now
		}
		switch end := since.Add(forceAfter); {
		case s.ready:
			return // its status tells when
		case now.Before(end):
			p.wakeAt(end)
			return
		}
		force = true
	}
	if s.attachment == nil || s.attachment.DeletionTimestamp == nil || s.reported {
		p.steps = append(p.steps, step{op: detach, node: s.node, force: force})
	}
}

// follow passes on what the attacher says.
func (p *plan) follow(s *site, now time.Time) {
	a := s.attachment
	switch {
	case a.DeletionTimestamp != nil: // made anew when it is gone
	case a.Status.Attached && !s.reported && s.exists:
		p.steps = append(p.steps, step{op: report, node: s.node})
	case a.Status.Attached:
	case a.Status.AttachError != nil:
		p.steps = append(p.steps, step{op: failed, node: s.node})
	default:
		waited := now.Sub(a.CreationTimestamp.Time)
		if waited >= attachTimeout {
			p.steps = append(p.steps, step{op: overdue, node: s.node})
		}
		p.wakeAt(a.CreationTimestamp.Add((waited/attachTimeout + 1) * attachTimeout))
	}
}
