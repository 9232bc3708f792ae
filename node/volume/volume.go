// Package volume makes pods' volumes available on the node: emptyDir, hostPath, configMap, secret,
// projected, downwardAPI, and claims bound to hostPath and local volumes. Content that comes from the API
// is written atomically and follows its source at once; what is confidential lives in memory only.
//
// Nothing is remembered on disk. A pod's volumes lie in its directory, so that what a crash left behind can
// be found and undone by looking.
package volume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/resource"

	"clipper/api"
	"clipper/api/podrefs"
	"clipper/node/kubeletdir"
)

// Config is what a Manager needs. All fields are required unless said otherwise.
type Config struct {
	Client      api.Client
	RootDir     kubeletdir.Dir // where hostPath volumes of /var/lib/kubelet lead
	PodsDir     string         // a directory per pod, by UID
	MemoryDir   string         // a tmpfs is mounted here, for what must not reach a disk
	NodeName    string
	Allocatable func() corev1.ResourceList
	Images      Images // optional
	// EnsureImage makes the image of an image volume present, as the policy says. Required with Images.
	EnsureImage func(ctx context.Context, pod *corev1.Pod, image string, policy corev1.PullPolicy) error
	// Changed is called when an object that a pod's volumes or variables refer to has changed. Optional.
	Changed func(pod types.UID)
}

// A Manager looks after the volumes of a node's pods. Its methods may be called concurrently.
type Manager struct {
	cfg Config

	mu     sync.Mutex
	pods   map[types.UID]*podVolumes
	users  map[podrefs.Ref]map[types.UID]bool // who refers to an object
	tokens map[tokenKey]token
	alarm  chan struct{} // a token to be renewed earlier than the others may have come
}

// podVolumes is a pod whose volumes are mounted or being mounted.
type podVolumes struct {
	mu     sync.Mutex // serializes work on the pod's directory
	pod    *corev1.Pod
	refs   map[podrefs.Ref]bool
	images map[string]string // where image volumes are mounted; guarded by the manager's mu
	gone   bool
}

// New returns a Manager. Call Prepare before the first Mount, and Run to keep content current.
func New(cfg Config) *Manager {
	if cfg.Changed == nil {
		cfg.Changed = func(types.UID) {}
	}
	return &Manager{cfg: cfg, pods: map[types.UID]*podVolumes{}, users: map[podrefs.Ref]map[types.UID]bool{},
		tokens: map[tokenKey]token{}, alarm: make(chan struct{}, 1)}
}

// Mount sets up every volume of the pod. It is idempotent. The error joins one per volume that failed.
func (m *Manager) Mount(ctx context.Context, pod *corev1.Pod) error {
	pv, first := m.register(pod)
	if first {
		m.recall(pod)
	}
	pv.mu.Lock()
	defer pv.mu.Unlock()
	if pv.gone {
		return fmt.Errorf("pod %s/%s: its volumes are being taken down", pod.Namespace, pod.Name)
	}
	return m.mountAll(ctx, pod)
}

func (m *Manager) mountAll(ctx context.Context, pod *corev1.Pod) error {
	var errs []error
	for i := range pod.Spec.Volumes {
		if err := m.mountOne(ctx, pod, &pod.Spec.Volumes[i]); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// mountOne sets up one volume. Its error reads as the event it becomes.
func (m *Manager) mountOne(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) error {
	setUp := func(err error) error {
		if err == nil {
			return nil
		}
		return fmt.Errorf("MountVolume.SetUp failed for volume %q : %w", v.Name, err)
	}
	switch {
	case v.EmptyDir != nil:
		return setUp(m.mountEmptyDir(pod, v))
	case v.HostPath != nil:
		return setUp(checkHostPath(m.cfg.RootDir.Host(v.HostPath.Path), v.HostPath.Type))
	case v.Image != nil:
		return setUp(m.mountImage(ctx, pod, v))
	case fromAPI(v):
		return setUp(m.writeContent(ctx, pod, v))
	case v.PersistentVolumeClaim != nil || v.Ephemeral != nil:
		return m.mountClaim(ctx, pod, v)
	case inTree(v) != nil:
		return m.notAttached(*inTree(v))
	case v.CSI != nil:
		return setUp(fmt.Errorf("kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: %w", errNoDriver(v.CSI.Driver)))
	}
	return setUp(fmt.Errorf("no volume plugin matched: this node has none for the kind of volume %q", v.Name))
}

func errNoDriver(driver string) error {
	return fmt.Errorf("driver name %s not found in the list of registered CSI drivers", driver)
}

// fromAPI reports whether a volume's content is written from API objects.
func fromAPI(v *corev1.Volume) bool {
	return v.ConfigMap != nil || v.Secret != nil || v.Projected != nil || v.DownwardAPI != nil
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

func (m *Manager) mountEmptyDir(pod *corev1.Pod, v *corev1.Volume) error {
	dir := m.dir(pod.UID, v)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	switch medium := v.EmptyDir.Medium; medium {
	case corev1.StorageMediumDefault:
		if err := os.Chmod(dir, 0o777); err != nil { // MkdirAll's mode went through the umask
			return err
		}
	case corev1.StorageMediumMemory:
		// Sticky, as the kernel makes a tmpfs and as upstream leaves it.
		if err := mountTmpfs(dir, m.memorySize(pod, v.EmptyDir), "1777"); err != nil {
			return err
		}
	default:
		return fmt.Errorf("unknown storage medium %q", medium)
	}
	return own(dir, fsGroup(pod), false)
}

// memorySize bounds an emptyDir in memory: its own limit, the pod's, or what the node has.
func (m *Manager) memorySize(pod *corev1.Pod, e *corev1.EmptyDirVolumeSource) int64 {
	allocatable := m.cfg.Allocatable()
	size := allocatable.Memory().Value()
	lim := resource.PodLimits(pod, resource.PodResourcesOptions{})
	if q := lim.Memory(); q.Sign() > 0 && q.Value() < size {
		size = q.Value()
	}
	if q := e.SizeLimit; q != nil && q.Sign() > 0 && q.Value() < size {
		size = q.Value()
	}
	return size
}

func fsGroup(pod *corev1.Pod) *int64 {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	return pod.Spec.SecurityContext.FSGroup
}

// Groups returns the groups that bound volumes ask for by annotation.
func (m *Manager) Groups(pod *corev1.Pod) []int64 {
	var out []int64
	for i := range pod.Spec.Volumes {
		if pv := m.boundVolume(pod, &pod.Spec.Volumes[i]); pv != nil {
			var gid int64
			if _, err := fmt.Sscan(pv.Annotations["pv.beta.kubernetes.io/gid"], &gid); err == nil {
				out = append(out, gid)
			}
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
		pv = &podVolumes{refs: map[podrefs.Ref]bool{}, images: map[string]string{}}
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
func (m *Manager) Update(pod *corev1.Pod) {
	m.mu.Lock()
	pv := m.pods[pod.UID]
	differs := false
	if pv != nil {
		differs = !maps.Equal(pv.pod.Labels, pod.Labels) || !maps.Equal(pv.pod.Annotations, pod.Annotations)
		pv.pod = pod
	}
	m.mu.Unlock()
	if differs && tellsOfItself(pod) {
		m.refresh(context.Background(), pod.UID)
	}
}

func tellsOfItself(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.DownwardAPI != nil {
			return true
		}
		if v.Projected != nil {
			for _, s := range v.Projected.Sources {
				if s.DownwardAPI != nil {
					return true
				}
			}
		}
	}
	return false
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
	if pv.gone {
		return
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if !fromAPI(v) {
			continue
		}
		switch err := m.writeContent(ctx, pod, v); {
		case err == nil:
		case apierrors.IsForbidden(err) || apierrors.IsNotFound(err):
			// The pod is leaving: the node may no longer see what it used.
		default:
			slog.Warn("Updating a volume failed; it keeps its old content", "pod", pod.Namespace+"/"+pod.Name, "volume", v.Name, "err", err)
		}
	}
}

// Unmount removes the pod's volumes. Data of the host and of bound volumes is not touched.
func (m *Manager) Unmount(ctx context.Context, uid types.UID) error {
	m.mu.Lock()
	pv := m.pods[uid]
	m.mu.Unlock()
	if pv != nil {
		pv.mu.Lock()
		defer pv.mu.Unlock()
		pv.gone = true
	}
	if err := errors.Join(m.removeFiles(uid), m.unmountImages(ctx, uid)); err != nil {
		if pv != nil {
			pv.gone = false
		}
		return err
	}
	m.forget(uid)
	return nil
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
	for k := range m.tokens {
		if k.pod == uid {
			delete(m.tokens, k)
		}
	}
}
