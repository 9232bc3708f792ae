// Package checkpoint keeps what a node has handed out in files, in the kubelet's form: JSON with a checksum over the
// printed value. A node whose kubelet is replaced by Clipper, or the other way round, keeps its assignments.
package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/utils/dump"
)

// Sum returns the checksum of a value. The kubelet's one covers the names of its types: names are pairs of a type of
// ours, as printed with its package, and of the kubelet's.
func Sum(value any, names ...string) uint64 {
	hash := fnv.New32a()
	_, _ = strings.NewReplacer(names...).WriteString(hash, dump.ForHash(value))
	return uint64(hash.Sum32())
}

// Write replaces a file, such that after a crash there is the old one or the new one.
func Write(path string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("checkpoint %s: %w", path, err)
	}
	if err := replace(path, data); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	return nil
}

func replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Read reads a file into value. It reports whether there is one.
func Read(path string, value any) (bool, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(data, value)
	}
	if err != nil {
		return true, fmt.Errorf("read checkpoint %s: %w", path, err)
	}
	return true, nil
}
