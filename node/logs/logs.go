// Package logs looks after containers' logs on a node as a v1.36 kubelet does: it starts a new file when one has
// grown large, compresses and removes old ones, gives collectors of logs a link to each container's log in one
// folder, removes what belongs to containers that are gone, and reads logs for users.
//
// A log is a file in the CRI's format, <pod's folder>/<container>/<restarts>.log. Files rotated away have the time
// behind that name, and .gz once they are compressed.
package logs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	compressed = ".gz"
	temporary  = ".tmp"
	// stampLayout is the time of a rotation as it stands in a file's name.
	stampLayout = "20060102-150405"
)

// rotated returns the files that were rotated away from the log at path, the oldest first, half made ones included.
func rotated(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), filepath.Base(path)+".") {
			out = append(out, filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
	slices.SortStableFunc(out, func(a, b string) int { return compareStamps(a[len(path)+1:], b[len(path)+1:]) })
	return out, nil
}

// compareStamps orders what stands behind a log's name: a time, perhaps with a number where it was not alone, and
// what has become of the file.
func compareStamps(a, b string) int {
	trim := func(s string) string { return strings.TrimSuffix(strings.TrimSuffix(s, temporary), compressed) }
	a, b = trim(a), trim(b)
	second := func(s string) string { return s[:min(len(s), len(stampLayout))] }
	return cmp.Or(strings.Compare(second(a), second(b)), cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

// unused are files that an interrupted rotation has left: half made ones, and those that there are compressed.
func unused(files []string) (out []string) {
	for _, f := range files {
		if strings.HasSuffix(f, temporary) || slices.Contains(files, f+compressed) {
			out = append(out, f)
		}
	}
	return out
}

// A plan is what a rotation does before it renames the current file.
type plan struct {
	remove   []string
	compress []string
}

// planRotation decides about the files that were rotated away before. Of maxFiles one will be the new current
// file and one the present one, which stays as it is for those who are still reading it.
func planRotation(files []string, maxFiles int) plan {
	p := plan{remove: unused(files)}
	files = slices.DeleteFunc(slices.Clone(files), func(f string) bool { return slices.Contains(p.remove, f) })
	excess := max(0, len(files)-max(0, maxFiles-2))
	p.remove = append(p.remove, files[:excess]...)
	for _, f := range files[excess:] {
		if !strings.HasSuffix(f, compressed) {
			p.compress = append(p.compress, f)
		}
	}
	return p
}

// RemoveLog removes a container's log with all that was rotated away from it.
func RemoveLog(path string) error {
	if path == "" {
		return nil
	}
	files, err := rotated(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove log: %w", err)
	}
	var errs []error
	for _, f := range append(files, path) {
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove log: %w", err))
		}
	}
	return errors.Join(errs...)
}

// rotatedName is what the log at path is renamed to. Two rotations may happen in one second.
func rotatedName(path string, now time.Time) string {
	name := path + "." + now.Format(stampLayout)
	for i := 1; exists(name) || exists(name+compressed); i++ {
		name = fmt.Sprintf("%s.%s-%d", path, now.Format(stampLayout), i)
	}
	return name
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
