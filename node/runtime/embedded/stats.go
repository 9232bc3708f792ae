package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"clipper/image"
	"clipper/node/runtime"
)

const cgroupRoot = "/sys/fs/cgroup"

// Stats reads the resource use of containers. Those that do not run have no figures of a cgroup.
func (r *Runtime) Stats(ctx context.Context, ids ...string) ([]runtime.Stats, error) {
	out := make([]runtime.Stats, 0, len(ids))
	for _, id := range ids {
		rec, err := r.record(ctx, id)
		if err != nil {
			return nil, err
		}
		s := runtime.Stats{ContainerID: id, At: time.Now()}
		if rec.State == runtime.Running {
			if err := r.host.readUsage(rec.CgroupPath, &s); err != nil {
				return nil, fmt.Errorf("stats of container %s: %w", id, err)
			}
		}
		if u, err := r.written.usage(ctx, r.snapshots, id, s.At); err == nil {
			s.RootfsUsed, s.RootfsInodes = u.Bytes, u.Inodes
		}
		s.LogUsed = logSize(rec.LogPath)
		out = append(out, s)
	}
	return out, nil
}

// writtenAge is how old what is told of a writable layer may be: finding out walks the whole layer.
const writtenAge = time.Minute

// written remembers what containers have written to their root file systems.
type written struct {
	mu    sync.Mutex
	known map[string]knownUsage
}

type knownUsage struct {
	usage image.Usage
	at    time.Time
}

func (w *written) usage(ctx context.Context, from Snapshots, id string, now time.Time) (image.Usage, error) {
	w.mu.Lock()
	known, ok := w.known[id]
	w.mu.Unlock()
	if ok && now.Sub(known.at) < writtenAge {
		return known.usage, nil
	}
	u, err := from.SnapshotUsage(ctx, id)
	if err != nil {
		return u, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.known == nil {
		w.known = map[string]knownUsage{}
	}
	w.known[id] = knownUsage{u, now}
	return u, nil
}

func (w *written) forget(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.known, id)
}

// SandboxStats reads the resource use of a pod's cgroup.
func (r *Runtime) SandboxStats(ctx context.Context, id string) (runtime.Stats, error) {
	sb, err := r.sandbox(ctx, id)
	if err != nil {
		return runtime.Stats{}, err
	}
	s := runtime.Stats{At: time.Now()}
	if err := r.host.readUsage(sb.Spec.CgroupParent, &s); err != nil {
		return s, fmt.Errorf("stats of sandbox %s: %w", id, err)
	}
	return s, nil
}

// readUsage fills s from the files of the cgroup at path. One that has just gone leaves it as it is.
func (h *host) readUsage(path string, s *runtime.Stats) error {
	read := h.readUsageV1
	if h.unified {
		read = h.readUsageV2
	}
	if err := read(path, s); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (h *host) readUsageV1(path string, s *runtime.Stats) error {
	cpu, err := readCount(filepath.Join(cgroupRoot, "cpuacct", path, "cpuacct.usage"))
	if err != nil {
		return err
	}
	memory := filepath.Join(cgroupRoot, "memory", path)
	used, err := readCount(filepath.Join(memory, "memory.usage_in_bytes"))
	if err != nil {
		return err
	}
	stat, err := readFlat(filepath.Join(memory, "memory.stat"))
	if err != nil {
		return err
	}
	s.CPUUsage = time.Duration(cpu)
	s.SwapUsage = stat["total_swap"]
	setMemory(s, used, stat["total_inactive_file"], stat["total_rss"], stat["total_pgfault"], stat["total_pgmajfault"])
	s.Pids, err = readCount(filepath.Join(cgroupRoot, "pids", path, "pids.current"))
	return err
}

func (h *host) readUsageV2(path string, s *runtime.Stats) error {
	dir := filepath.Join(cgroupRoot, path)
	cpu, err := readFlat(filepath.Join(dir, "cpu.stat"))
	if err != nil {
		return err
	}
	used, err := readCount(filepath.Join(dir, "memory.current"))
	if err != nil {
		return err
	}
	stat, err := readFlat(filepath.Join(dir, "memory.stat"))
	if err != nil {
		return err
	}
	s.CPUUsage = time.Duration(cpu["usage_usec"]) * time.Microsecond
	s.SwapUsage, err = readCount(filepath.Join(dir, "memory.swap.current"))
	if err != nil && !errors.Is(err, os.ErrNotExist) { // without swap the kernel does not count it
		return err
	}
	setMemory(s, used, stat["inactive_file"], stat["anon"], stat["pgfault"], stat["pgmajfault"])
	s.Pids, err = readCount(filepath.Join(dir, "pids.current"))
	return err
}

// setMemory sets the memory figures as cadvisor defines them: the working set is what cannot be dropped at once.
func setMemory(s *runtime.Stats, used, inactiveFile, rss, faults, majorFaults int64) {
	s.MemoryUsage, s.MemoryRSS = used, rss
	s.MemoryWorkingSet = max(used-inactiveFile, 0)
	s.PageFaults, s.MajorPageFaults = faults, majorFaults
}

func readCount(path string) (int64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(bytes.TrimSpace(data)), 10, 64)
}

// readFlat reads a file of lines "key value".
func readFlat(path string) (map[string]int64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	for line := range bytes.Lines(data) {
		key, value, ok := bytes.Cut(bytes.TrimSpace(line), []byte{' '})
		if !ok {
			continue
		}
		if n, err := strconv.ParseInt(string(value), 10, 64); err == nil {
			out[string(key)] = n
		}
	}
	return out, nil
}

// logSize sums the current log file and the rotated ones beside it.
func logSize(path string) int64 {
	if path == "" {
		return 0
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return 0
	}
	var sum int64
	base := filepath.Base(path)
	for _, e := range entries {
		if e.Name() != base && !bytes.HasPrefix([]byte(e.Name()), []byte(base+".")) {
			continue
		}
		if st, err := e.Info(); err == nil {
			sum += st.Size()
		}
	}
	return sum
}
