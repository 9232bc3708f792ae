// Package logs looks after containers' logs on a node as a v1.36 kubelet does: it starts a new file when one has
// grown large, compresses and removes old ones, gives collectors of logs a link to each container's log in one
// folder, removes what belongs to containers that are gone, and reads logs for users.
//
// A log is a file in the CRI's format, <pod's folder>/<container>/<restarts>.log. Files rotated away have the time
// behind that name, and .gz once they are compressed.
package logs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"clipper/node/runtime/embedded/crilog"
)

const (
	compressed = ".gz"
	temporary  = ".tmp"
)

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
	files, err := crilog.Rotated(path)
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
