package volume

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"clipper/api/podrefs"
	"clipper/diskusage"
	"clipper/node/machine"
	"clipper/node/volume/content"
)

// measureTimeout bounds the measuring of one pod's volumes for somebody who waits for it. What takes longer goes on,
// and is told the next time.
const measureTimeout = 5 * time.Second

// measured is what a pod's volumes held when they were last looked at.
type measured struct {
	mu    sync.Mutex // one measurement at a time
	at    time.Time
	stats map[string]statsapi.VolumeStats
}

// Stats returns what the volumes of a pod hold. Figures are at most as old as Config.StatsAge says, if whoever has to be
// asked answers.
func (m *Manager) Stats(uid types.UID) []statsapi.VolumeStats {
	m.mu.Lock()
	pv := m.pods[uid]
	var pod *corev1.Pod
	if pv != nil {
		pod = pv.pod
	}
	m.mu.Unlock()
	if pod == nil {
		return nil
	}
	pv.measured.mu.Lock()
	defer pv.measured.mu.Unlock()
	if now := time.Now(); now.Sub(pv.measured.at) >= m.cfg.StatsAge {
		pv.measured.at = now
		m.measureAll(pod, &pv.measured)
	}
	var out []statsapi.VolumeStats
	for i := range pod.Spec.Volumes {
		if st, ok := pv.measured.stats[pod.Spec.Volumes[i].Name]; ok {
			out = append(out, st)
		}
	}
	return out
}

func (m *Manager) measureAll(pod *corev1.Pod, into *measured) {
	ctx, cancel := context.WithTimeout(context.Background(), measureTimeout)
	defer cancel()
	var group sync.WaitGroup
	var mu sync.Mutex
	next := map[string]statsapi.VolumeStats{}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		old, had := into.stats[v.Name]
		group.Go(func() {
			st, ok := m.measure(ctx, pod, v)
			if !ok && had && ctx.Err() != nil {
				st, ok = old, true
			}
			if ok {
				mu.Lock()
				next[v.Name] = st
				mu.Unlock()
			}
		})
	}
	group.Wait()
	into.stats = next
}

// measure looks at one volume. Of a hostPath nobody can say how much is the volume's.
func (m *Manager) measure(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (statsapi.VolumeStats, bool) {
	out := statsapi.VolumeStats{Name: v.Name}
	out.Time = metav1.Now()
	if v.EmptyDir != nil || content.Of(v) {
		dir := m.dir(pod.UID, v)
		used, err := diskusage.Of(ctx, dir)
		if err != nil {
			return out, false
		}
		fs, err := machine.FileSystemOf(dir)
		fs.BytesUsed, fs.InodesUsed = used.Bytes, used.Inodes
		out.FsStats = fs.Stats(out.Time)
		return out, err == nil
	}
	s := m.source(pod.UID, v.Name)
	if s == nil {
		return out, false
	}
	if name := podrefs.ClaimName(pod, v); name != "" {
		out.PVCRef = &statsapi.PVCReference{Name: name, Namespace: pod.Namespace}
	}
	if c := m.csiMount(pod.UID, v.Name); c != nil {
		return out, m.measureCSI(ctx, pod.UID, c, &out.FsStats)
	}
	if hostPath(s) != nil || v.Image != nil || s.block() {
		return out, false
	}
	dir, err := m.base(pod, v)
	if err != nil {
		return out, false
	}
	var fs machine.FileSystem // fn may go on after we have stopped waiting: it must not write into out
	err = m.guard.do(ctx, "measuring "+dir, func() (err error) { fs, err = machine.FileSystemOf(dir); return err })
	if err != nil {
		return out, false
	}
	out.FsStats = fs.Stats(out.Time)
	return out, true
}

func (m *Manager) measureCSI(ctx context.Context, pod types.UID, c *csiMount, out *statsapi.FsStats) bool {
	fs, err := m.csi.Stats(ctx, c.volume, pod)
	if err != nil {
		return false
	}
	*out = fs.Stats(out.Time)
	return true
}
