package volume

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/mount-utils"
	utilexec "k8s.io/utils/exec"

	"clipper/api"
	"clipper/node/csi"
)

// A device is a volume that is made ready on the node once, whichever pods use it then.
type device struct {
	mu     sync.Mutex // one step at a time: stage, give to a pod, take from it, unstage
	staged bool       // guarded by mu

	// The rest is guarded by the manager's mu.
	users    map[types.UID]bool
	attached bool // it has to be attached to the node, and is reported to be in use
	unstage  func(context.Context) error
}

// use notes that a pod uses a device, "" for one that is only known to be there.
func (m *Manager) use(name corev1.UniqueVolumeName, pod types.UID, unstage func(context.Context) error) *device {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.devices[name]
	if d == nil {
		d = &device{users: map[types.UID]bool{}, unstage: unstage}
		m.devices[name] = d
	}
	if pod != "" {
		d.users[pod] = true
	}
	return d
}

func (m *Manager) device(name corev1.UniqueVolumeName) *device {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.devices[name]
}

// usedElsewhere reports whether another pod uses the device.
func (m *Manager) usedElsewhere(d *device, pod types.UID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(d.users) > 1 || (len(d.users) == 1 && !d.users[pod])
}

// release notes that a pod no longer uses any device, and takes down those that no pod uses then. What fails
// is tried again later: the pod does not wait for it.
func (m *Manager) release(ctx context.Context, pod types.UID) {
	m.mu.Lock()
	var idle []corev1.UniqueVolumeName
	for name, d := range m.devices {
		if d.users[pod] {
			delete(d.users, pod)
			if len(d.users) == 0 {
				idle = append(idle, name)
			}
		}
	}
	m.mu.Unlock()
	for _, name := range idle {
		m.takeDown(ctx, name)
	}
}

// takeDown unstages a device that no pod uses.
func (m *Manager) takeDown(ctx context.Context, name corev1.UniqueVolumeName) {
	d := m.device(name)
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	m.mu.Lock()
	idle := len(d.users) == 0 && m.devices[name] == d
	m.mu.Unlock()
	if !idle {
		return // a pod has come meanwhile
	}
	if err := d.unstage(ctx); err != nil {
		slog.Warn("Taking down a volume that no pod uses failed; it will be tried again", "volume", name, "err", err)
		m.stirUp()
		return
	}
	d.staged = false
	m.mu.Lock()
	reported := d.attached
	if len(d.users) == 0 { // else a pod waits for d.mu to stage it anew
		delete(m.devices, name)
	}
	m.mu.Unlock()
	if reported {
		m.cfg.InUseChanged()
	}
}

// idleDevices returns those that wait to be taken down.
func (m *Manager) idleDevices() []corev1.UniqueVolumeName {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []corev1.UniqueVolumeName
	for name, d := range m.devices {
		if len(d.users) == 0 {
			out = append(out, name)
		}
	}
	return out
}

// InUse returns the names of the volumes that must stay attached to the node, in order. ok is false as long
// as what an earlier agent left has not been looked through.
func (m *Manager) InUse() (names []corev1.UniqueVolumeName, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, d := range m.devices {
		if d.attached {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, m.swept
}

// defaultFSType is the file system that a disk without one gets. Upstream's.
const defaultFSType = "ext4"

// formatAndMount mounts a disk, on which it makes a file system if there is none; fsType may be empty.
func (m *Manager) formatAndMount(ctx context.Context, disk, dir, fsType string, options []string) error {
	return m.guard.do(ctx, dir, func() error {
		return mount.NewSafeFormatAndMount(mount.NewWithoutSystemd(""), utilexec.New()).FormatAndMount(disk, dir, cmp.Or(fsType, defaultFSType), options)
	})
}

// A LimitError says that the node can have no more volumes of a driver: a pod that needs one must go elsewhere.
type LimitError struct{ err error }

func (e *LimitError) Error() string {
	return "Node has reached its volume attachment limit, rejecting pod. " + e.err.Error()
}

// Refusal returns why the pod is rejected.
func (e *LimitError) Refusal() (reason, message string) {
	return "VolumeAttachmentLimitExceeded", e.Error()
}

// attachTimeout is how long a pod waits for a volume to be attached before it tells. Upstream's figure.
const attachTimeout = 2*time.Minute + 3*time.Second

// waitAttached waits until the node's status says that the volume is attached, and that the node uses it: not
// before that may it be mounted, for it could be detached at any time.
func (m *Manager) waitAttached(ctx context.Context, v *csi.Volume, d *device, volume string) error {
	name := v.UniqueName()
	m.mu.Lock()
	news := !d.attached
	d.attached = true
	m.mu.Unlock()
	if news {
		m.cfg.InUseChanged()
	}
	timeout := time.NewTimer(m.attachTimeout)
	defer timeout.Stop()
	for {
		m.mu.Lock()
		changed := m.nodeChanged
		m.mu.Unlock()
		node, ok := api.Nodes.View(m.cfg.Client).Get("", m.cfg.NodeName)
		if ok && slices.Contains(node.Status.VolumesInUse, name) &&
			slices.ContainsFunc(node.Status.VolumesAttached, func(a corev1.AttachedVolume) bool { return a.Name == name }) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-timeout.C:
			err := fmt.Errorf("unmounted volumes=[%s], unattached volumes=[%s], failed to process volumes=[]: %w", volume, volume, context.DeadlineExceeded)
			if m.csi.Exhausted(ctx, v) {
				return &LimitError{err}
			}
			return err
		}
	}
}

// watchNode wakes those who wait for the node's status.
func (m *Manager) watchNode(ctx context.Context) error {
	return api.Nodes.View(m.cfg.Client).Watch(ctx, func(ev api.Event) {
		if ev.Type == api.Synced || ev.Object().GetName() != m.cfg.NodeName {
			return
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		close(m.nodeChanged)
		m.nodeChanged = make(chan struct{})
	})
}
