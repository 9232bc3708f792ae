// Package ranges hands out ranges of user and group IDs to the pods of a node that have user namespaces, and
// remembers them in the pods' directories, in the form in which a kubelet does.
package ranges

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubelet/config/v1beta1"

	"clipper/node/userns"
)

// Unit is what the number of IDs of a pod is a multiple of.
const Unit = 65536

// mappings is the file in a pod's directory that remembers its range: upstream's name and form.
const mappings = "userns"

type saved struct {
	UIDMappings []savedMapping `json:"uidMappings"`
	GIDMappings []savedMapping `json:"gidMappings"`
}

type savedMapping struct {
	HostID      uint32 `json:"hostId"`
	ContainerID uint32 `json:"containerId"`
	Length      uint32 `json:"length"`
}

// An Allocator hands out ranges of IDs to the pods of a node.
type Allocator struct {
	dir    string // one directory per pod, by UID
	length uint32
	slots  uint32

	mu   sync.Mutex
	used map[types.UID]uint32 // slot; nil until the first Acquire has read what is on disk
}

// New returns the allocator of a node with podsDir, for at most pods pods. settings may be nil.
func New(podsDir string, settings *v1beta1.UserNamespaces, pods int) *Allocator {
	a := &Allocator{dir: podsDir, length: Unit, slots: uint32(max(pods, 1))}
	if settings != nil && settings.IDsPerPod != nil {
		a.length = uint32(*settings.IDsPerPod)
	}
	return a
}

// Acquire returns the pod's range, a new one if it has none.
func (a *Allocator) Acquire(pod types.UID) (userns.IDs, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.load(); err != nil {
		return userns.IDs{}, err
	}
	slot, ok := a.used[pod]
	if !ok {
		if slot, ok = a.free(); !ok {
			return userns.IDs{}, errors.New("create user namespace: could not find an empty slot to allocate a user namespace")
		}
		if err := a.save(pod, slot); err != nil {
			return userns.IDs{}, fmt.Errorf("create user namespace: %w", err)
		}
		a.used[pod] = slot
	}
	return a.ids(slot), nil
}

// Release gives the pod's range back. Its directory may be gone already.
func (a *Allocator) Release(pod types.UID) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := os.Remove(filepath.Join(a.dir, string(pod), mappings)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("release user namespace: %w", err)
	}
	delete(a.used, pod)
	return nil
}

// ids skips the first range: it is the machine's own users'.
func (a *Allocator) ids(slot uint32) userns.IDs {
	return userns.IDs{Host: (slot + 1) * a.length, Length: a.length}
}

func (a *Allocator) free() (uint32, bool) {
	taken := make([]bool, a.slots)
	for _, slot := range a.used {
		if slot < a.slots { // the node may have been allowed more pods before
			taken[slot] = true
		}
	}
	i := slices.Index(taken, false)
	return uint32(max(i, 0)), i >= 0
}

// load reads which pods have which ranges, once.
func (a *Allocator) load() error {
	if a.used != nil {
		return nil
	}
	files, err := filepath.Glob(filepath.Join(a.dir, "*", mappings))
	if err != nil {
		return err
	}
	used := map[types.UID]uint32{}
	for _, file := range files {
		uid := types.UID(filepath.Base(filepath.Dir(file)))
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("record pod mappings for existing pod %q: %w", uid, err)
		}
		if used[uid], err = a.parse(data); err != nil {
			return fmt.Errorf("record pod mappings for existing pod %q: %w", uid, err)
		}
	}
	a.used = used
	return nil
}

// parse returns the slot that a file stands for.
func (a *Allocator) parse(data []byte) (slot uint32, err error) {
	var s saved
	if err := json.Unmarshal(data, &s); err != nil {
		return 0, fmt.Errorf("invalid user namespace mappings file: %w", err)
	}
	switch {
	case len(s.UIDMappings) != 1:
		return 0, errors.New("invalid user namespace configuration: no more than one mapping allowed")
	case !slices.Equal(s.UIDMappings, s.GIDMappings):
		return 0, errors.New("invalid user namespace configuration: GID and UID mapping should be identical")
	case s.UIDMappings[0].ContainerID != 0:
		return 0, errors.New("invalid user namespace configuration: UID 0 must be mapped")
	}
	m := s.UIDMappings[0]
	switch {
	case m.Length != a.length:
		return 0, fmt.Errorf("wrong user namespace length %v", m.Length)
	case m.HostID%a.length != 0:
		return 0, fmt.Errorf("wrong user namespace offset specified %v", m.HostID)
	case m.HostID < a.length:
		return 0, fmt.Errorf("id %v is out of range", m.HostID)
	}
	return m.HostID/a.length - 1, nil
}

// save writes the range down for good: after a power loss it must not be given to another pod, for files on
// volumes may belong to it.
func (a *Allocator) save(pod types.UID, slot uint32) error {
	ids := a.ids(slot)
	m := []savedMapping{{HostID: ids.Host, Length: ids.Length}}
	data, err := json.Marshal(saved{UIDMappings: m, GIDMappings: m})
	if err != nil {
		return err
	}
	dir := filepath.Join(a.dir, string(pod))
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	return writeSynced(filepath.Join(dir, mappings), data)
}

func writeSynced(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
