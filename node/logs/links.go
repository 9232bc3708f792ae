package logs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Links is a folder with a link to every container's log, by names that say whose it is: what collectors of logs
// on a node read, /var/log/containers. The links are relative, so that a collector may mount the folder above
// anywhere.
type Links string

// longestName is that of a file.
const longestName = 255

// name is <pod>_<namespace>_<container>-<ID>.log, cut where no file can have it.
func (l Links) name(namespace, pod, container, id string) string {
	const suffix = ".log"
	name := fmt.Sprintf("%s_%s_%s-%s", pod, namespace, container, id)
	return filepath.Join(string(l), name[:min(len(name), longestName-len(suffix))]+suffix)
}

// Add links a container's log.
func (l Links) Add(namespace, pod, container, id, log string) error {
	target, err := filepath.Rel(string(l), log)
	if err != nil {
		return fmt.Errorf("link log: %w", err)
	}
	name := l.name(namespace, pod, container, id)
	err = os.Symlink(target, name)
	if errors.Is(err, fs.ErrNotExist) { // somebody has tidied up
		if err = os.MkdirAll(string(l), 0o755); err == nil {
			err = os.Symlink(target, name)
		}
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("link log: %w", err)
	}
	return nil
}

// Remove removes a container's link. It is no error if there is none.
func (l Links) Remove(namespace, pod, container, id string) error {
	if err := os.Remove(l.name(namespace, pod, container, id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove link of log: %w", err)
	}
	return nil
}

// RemovePod removes the links into dir, the folder of a pod's logs, which need not be there any more.
func (l Links) RemovePod(namespace, pod, dir string) error {
	return l.removeIf(func(name string) bool {
		if !strings.HasPrefix(name, pod+"_"+namespace+"_") {
			return false
		}
		target, err := os.Readlink(filepath.Join(string(l), name))
		return err == nil && strings.HasPrefix(filepath.Join(string(l), target), dir+"/")
	})
}

// Sweep removes links that lead nowhere.
func (l Links) Sweep() error {
	return l.removeIf(func(name string) bool {
		_, err := os.Stat(filepath.Join(string(l), name))
		return errors.Is(err, fs.ErrNotExist)
	})
}

func (l Links) removeIf(gone func(name string) bool) error {
	entries, err := os.ReadDir(string(l))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove links of logs: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if e.Type() != fs.ModeSymlink || !gone(e.Name()) {
			continue
		}
		if err := os.Remove(filepath.Join(string(l), e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove link of log: %w", err))
		}
	}
	return errors.Join(errs...)
}
