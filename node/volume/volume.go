// Package volume makes pods' volumes available on the node: those that the node makes itself (emptyDir, and content
// from the API, written atomically, following its source at once, in memory only if it is confidential), those
// that are there already (hostPath, local, images), those that are mounted from the network, and those that CSI
// drivers provide (package csi).
//
// Drivers and dead servers may keep their callers waiting for ever. So no lock that others need is held while
// one is asked, each question has its time, and one pod never waits for the volumes of another.
//
// Nothing is remembered on disk but what a driver has been asked for. A pod's volumes lie in its directory, so that
// what a crash left behind can be found and undone by looking, without the API.
package volume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	storagehelpers "k8s.io/component-helpers/storage/volume"

	"clipper/api"
	"clipper/api/podrefs"
	"clipper/node/csi"
	"clipper/node/kubeletdir"
	"clipper/node/plugins"
	"clipper/node/volume/content"
	"clipper/node/volume/token"
)

// Config is what a Manager needs. All fields are required unless said otherwise.
type Config struct {
	Client      api.Client
	RootDir     kubeletdir.Dir // where hostPath volumes of /var/lib/kubelet lead
	LogDir      string         // where those of /var/log lead; default: there
	PodsDir     string         // a directory per pod, by UID
	MemoryDir   string         // a tmpfs is mounted here, for what must not reach a disk
	NodeName    string
	Allocatable func() corev1.ResourceList
	Images      Images // optional
	// EnsureImage makes the image of an image volume present, as the policy says. Required with Images.
	EnsureImage func(ctx context.Context, pod *corev1.Pod, image string, policy corev1.PullPolicy) error
	Recorder    Recorder
	StatsAge    time.Duration // how old the figures of Stats may be
	// InUseChanged is called when InUse has. Optional.
	InUseChanged func()
	// Changed is called when an object that a pod's volumes or variables refer to has changed. Optional.
	Changed func(pod types.UID)
}

// A Recorder takes events.
type Recorder interface {
	Event(about api.Object, eventType, reason, format string, args ...any)
}

// A Manager looks after the volumes of a node's pods. Its methods may be called concurrently.
type Manager struct {
	cfg     Config
	csi     *csi.Plugin
	guard   *guard
	tokens  *token.Cache
	content content.Source

	diskLinks     string // where udev shows disks by the ways to them
	attachTimeout time.Duration

	stir chan struct{} // there may be upkeep to do

	mu          sync.Mutex
	pods        map[types.UID]*podVolumes
	users       map[podrefs.Ref]map[types.UID]bool // who refers to an object
	devices     map[corev1.UniqueVolumeName]*device
	orphans     []types.UID   // pods that are gone and have left volumes
	swept       bool          // what an earlier agent left is known
	nodeChanged chan struct{} // closed when the node's status has changed
}

// podVolumes is a pod whose volumes are mounted or being mounted.
type podVolumes struct {
	mu   sync.Mutex  // serializes writing what comes from the API; not held while the kernel or a driver may hang
	gone atomic.Bool // changes with mu held

	// The rest is guarded by the manager's mu.
	pod      *corev1.Pod
	refs     map[podrefs.Ref]bool
	images   map[string]string    // where image volumes are mounted
	sources  map[string]*source   // what stands behind the volumes, by their names, once known
	csi      map[string]*csiMount // by the names of the volumes
	wantsCSI bool

	measured measured // has its own lock
}

// New returns a Manager. Call Prepare before the first Mount, and Run to keep content current.
func New(cfg Config) *Manager {
	if cfg.Changed == nil {
		cfg.Changed = func(types.UID) {}
	}
	if cfg.InUseChanged == nil {
		cfg.InUseChanged = func() {}
	}
	m := &Manager{cfg: cfg, guard: newGuard(hangTimeout), diskLinks: "/dev/disk/by-path", attachTimeout: attachTimeout, stir: make(chan struct{}, 1), tokens: token.New(cfg.Client),
		pods: map[types.UID]*podVolumes{}, users: map[podrefs.Ref]map[types.UID]bool{},
		devices: map[corev1.UniqueVolumeName]*device{}, nodeChanged: make(chan struct{})}
	m.content = content.Source{Client: cfg.Client, Tokens: m.tokens, Allocatable: cfg.Allocatable}
	m.csi = csi.New(csi.Config{Client: cfg.Client, NodeName: cfg.NodeName, Dir: cfg.RootDir, Tokens: m.driverTokens, Registered: m.driverRegistered})
	return m
}

// Drivers takes the CSI drivers that register with the node.
func (m *Manager) Drivers() plugins.Handler { return m.csi }

// Mount sets up every volume of the pod. It is idempotent. The error joins one per volume that failed.
func (m *Manager) Mount(ctx context.Context, pod *corev1.Pod) error {
	pv, first := m.register(pod)
	if first {
		m.content.AdoptTokens(pod, func(v *corev1.Volume) string { return m.dir(pod.UID, v) })
	}
	if pv.gone.Load() {
		return fmt.Errorf("pod %s/%s: its volumes are being taken down", pod.Namespace, pod.Name)
	}
	errs := make([]error, len(pod.Spec.Volumes))
	var group sync.WaitGroup
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.EmptyDir != nil || content.Of(v) {
			continue
		}
		group.Go(func() { errs[i] = m.mountForeign(ctx, pod, v) })
	}
	m.mountOwn(ctx, pv, pod, errs)
	group.Wait()
	if err := errors.Join(errs...); err == nil || len(errs) > 1 {
		return err
	}
	return errs[0]
}

// mountOwn sets up the volumes that the node makes itself.
func (m *Manager) mountOwn(ctx context.Context, pv *podVolumes, pod *corev1.Pod, errs []error) {
	pv.mu.Lock()
	defer pv.mu.Unlock()
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		var err error
		switch {
		case v.EmptyDir != nil:
			err = m.mountEmptyDir(ctx, pod, v)
		case content.Of(v):
			err = m.content.Write(ctx, pod, v, m.dir(pod.UID, v))
		}
		if err != nil {
			errs[i] = setUpFailed(v.Name, err)
		}
	}
}

// setUpFailed words an error as the event it becomes.
func setUpFailed(volume string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("MountVolume.SetUp failed for volume %q : %w", volume, err)
}

// mountForeign sets up a volume that somebody else makes, and that may keep us waiting therefore.
func (m *Manager) mountForeign(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) error {
	s, err := m.resolve(ctx, pod, v)
	if err != nil {
		return err
	}
	if err := m.checkNode(s); err != nil {
		return err
	}
	m.mu.Lock()
	if pv := m.pods[pod.UID]; pv != nil {
		pv.sources[v.Name] = s
		pv.wantsCSI = pv.wantsCSI || csiVolume(pod, s) != nil
	}
	m.mu.Unlock()
	if c := csiVolume(pod, s); c != nil {
		return m.mountCSI(ctx, pod, s, c)
	}
	return m.mountInTree(ctx, pod, s)
}

// checkNode makes sure that the volume can be used on this node: who has chosen the node may not have looked.
func (m *Manager) checkNode(s *source) error {
	if s.pv == nil || s.pv.Spec.NodeAffinity == nil {
		return nil
	}
	node, ok := api.Nodes.View(m.cfg.Client).Get("", m.cfg.NodeName)
	if !ok {
		return fmt.Errorf("MountVolume.NodeAffinity check failed for volume %q : node %s is not known yet", s.pv.Name, m.cfg.NodeName)
	}
	if err := storagehelpers.CheckNodeAffinity(s.pv, node.Labels); err != nil {
		return fmt.Errorf("MountVolume.NodeAffinity check failed for volume %q : %w", s.pv.Name, err)
	}
	return nil
}

// mountInTree sets up a volume of a kind that the node knows itself.
func (m *Manager) mountInTree(ctx context.Context, pod *corev1.Pod, s *source) error {
	v := s.volume
	switch path := hostPath(s); {
	case path != nil:
		if s.pv != nil && len(s.pv.Spec.MountOptions) > 0 {
			return fmt.Errorf("MountVolume.MountOptionSupport check failed for volume %q : Mount options are not supported for this volume type", s.name())
		}
		dir := m.host(path.Path)
		return setUpFailed(s.name(), m.guard.do(ctx, dir, func() error { return checkHostPath(dir, path.Type) }))
	case v.Image != nil:
		return setUpFailed(v.Name, m.mountImage(ctx, pod, v))
	case s.pv != nil && s.pv.Spec.Local != nil:
		return m.mountLocal(ctx, pod, s)
	case nfs(s) != nil:
		return setUpFailed(s.name(), m.mountNFS(ctx, pod, s))
	case m.iscsi(pod, s) != nil:
		return m.mountISCSI(ctx, pod, s, m.iscsi(pod, s))
	}
	return setUpFailed(s.name(), fmt.Errorf("no volume plugin matched: this node has none for the kind of volume %q", s.name()))
}

// dir returns where a volume that the node makes itself lies.
func (m *Manager) dir(pod types.UID, v *corev1.Volume) string {
	kind, root := "", m.cfg.PodsDir
	switch {
	case v.EmptyDir != nil:
		kind = "kubernetes.io~empty-dir"
	case v.ConfigMap != nil:
		kind = "kubernetes.io~configmap"
	case v.Secret != nil:
		kind, root = "kubernetes.io~secret", m.cfg.MemoryDir
	case v.Projected != nil:
		kind, root = "kubernetes.io~projected", m.cfg.MemoryDir
	case v.DownwardAPI != nil:
		kind, root = "kubernetes.io~downward-api", m.cfg.MemoryDir
	}
	return filepath.Join(root, string(pod), "volumes", kind, v.Name)
}

// Groups returns the groups that bound volumes ask for by annotation.
func (m *Manager) Groups(pod *corev1.Pod) []int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	pv := m.pods[pod.UID]
	if pv == nil {
		return nil
	}
	var out []int64
	for i := range pod.Spec.Volumes {
		s := pv.sources[pod.Spec.Volumes[i].Name]
		if s == nil || s.pv == nil {
			continue
		}
		if gid, err := strconv.ParseInt(s.pv.Annotations["pv.beta.kubernetes.io/gid"], 10, 64); err == nil {
			out = append(out, gid)
		}
	}
	return out
}

// register notes the pod and what it refers to, so that changes find it.
func (m *Manager) register(pod *corev1.Pod) (pv *podVolumes, first bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	pv = m.pods[pod.UID]
	if pv == nil {
		first = true
		pv = &podVolumes{refs: map[podrefs.Ref]bool{}, images: map[string]string{}, sources: map[string]*source{}, csi: map[string]*csiMount{}}
		m.pods[pod.UID] = pv
	}
	pv.pod = pod
	for _, r := range podrefs.Of(pod) {
		if !pv.refs[r] {
			pv.refs[r] = true
			if m.users[r] == nil {
				m.users[r] = map[types.UID]bool{}
			}
			m.users[r][pod.UID] = true
		}
	}
	return pv, first
}

// Update tells the manager of a newer state of a pod: its labels and annotations may be in a volume.
func (m *Manager) Update(ctx context.Context, pod *corev1.Pod) {
	m.mu.Lock()
	pv := m.pods[pod.UID]
	differs := false
	if pv != nil {
		differs = !maps.Equal(pv.pod.Labels, pod.Labels) || !maps.Equal(pv.pod.Annotations, pod.Annotations)
		pv.pod = pod
	}
	m.mu.Unlock()
	if differs && content.TellsOfPod(pod) {
		m.refresh(ctx, pod.UID)
	}
}

// refresh rewrites the content of a mounted pod's volumes where it differs.
func (m *Manager) refresh(ctx context.Context, uid types.UID) {
	m.mu.Lock()
	pv := m.pods[uid]
	m.mu.Unlock()
	if pv == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	pv.mu.Lock()
	defer pv.mu.Unlock()
	m.mu.Lock()
	pod := pv.pod
	m.mu.Unlock()
	if pv.gone.Load() {
		return
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if !content.Of(v) {
			continue
		}
		switch err := m.content.Write(ctx, pod, v, m.dir(pod.UID, v)); {
		case err == nil:
		case apierrors.IsForbidden(err) || apierrors.IsNotFound(err):
			// The pod is leaving: the node may no longer see what it used.
		default:
			slog.Warn("Updating a volume failed; it keeps its old content", "pod", pod.Namespace+"/"+pod.Name, "volume", v.Name, "err", err)
		}
	}
}

// Unmount removes the pod's volumes. Data of the host and of bound volumes is not touched. It comes after the last
// Mount of the pod has returned.
func (m *Manager) Unmount(ctx context.Context, uid types.UID) error {
	m.mu.Lock()
	pv := m.pods[uid]
	m.mu.Unlock()
	if pv != nil {
		pv.mu.Lock()
		pv.gone.Store(true)
		pv.mu.Unlock()
	}
	if err := m.unmountAll(ctx, uid); err != nil {
		return err
	}
	m.release(ctx, uid)
	m.forget(uid)
	return nil
}

// unmountAll begins with what lies inside of other volumes.
func (m *Manager) unmountAll(ctx context.Context, uid types.UID) error {
	if err := m.unmountSubPaths(uid); err != nil {
		return err
	}
	if err := m.unmountCSI(ctx, uid); err != nil {
		return err
	}
	return errors.Join(m.removeFiles(uid), m.unmountImages(ctx, uid))
}

func (m *Manager) forget(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if pv := m.pods[uid]; pv != nil {
		for r := range pv.refs {
			delete(m.users[r], uid)
			if len(m.users[r]) == 0 {
				delete(m.users, r)
			}
		}
	}
	delete(m.pods, uid)
	m.tokens.Forget(uid)
}
