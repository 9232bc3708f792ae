package content

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"clipper/node/volume/fsgroup"
)

// A file is one file of a volume whose content comes from the API.
type file struct {
	data []byte
	mode fs.FileMode
	uid  *int64 // owner, nil: root
}

// dataLink is what readers follow: all files of a volume change at the instant it is renamed into place.
const dataLink = "..data"

// writeAtomic makes dir show exactly files. A reader sees all of the old content or all of the new, as
// upstream's layout promises: each name is a link into ..data, itself a link to a directory of that moment.
func writeAtomic(ctx context.Context, dir string, files map[string]file, gid *int64) error {
	old, _ := os.Readlink(filepath.Join(dir, dataLink))
	if old != "" && sameContent(filepath.Join(dir, old), files) {
		return nil
	}
	next, err := os.MkdirTemp(dir, time.Now().UTC().Format("..2006_01_02_15_04_05."))
	if err != nil {
		return err
	}
	if err := writeFiles(ctx, next, files, gid); err != nil {
		return errors.Join(err, os.RemoveAll(next))
	}
	tmp := filepath.Join(dir, dataLink+"_tmp")
	if err := os.Remove(tmp); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := os.Symlink(filepath.Base(next), tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, dataLink)); err != nil {
		return err
	}
	if err := linkNames(dir, files); err != nil {
		return err
	}
	return removeStale(dir, filepath.Base(next))
}

func writeFiles(ctx context.Context, dir string, files map[string]file, gid *int64) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	for name, f := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, f.data, f.mode); err != nil {
			return err
		}
		if err := os.Chmod(path, f.mode); err != nil { // WriteFile's mode went through the umask
			return err
		}
		if f.uid != nil {
			if err := os.Chown(path, int(*f.uid), -1); err != nil {
				return err
			}
		}
	}
	if gid == nil {
		return nil
	}
	return fsgroup.Give(ctx, dir, *gid, true, new(atomic.Int64))
}

// sameContent reports whether dir holds exactly files. Modes are compared without what a group adds.
func sameContent(dir string, files map[string]file) bool {
	seen, differs := 0, false
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		want, ok := files[name]
		if !ok {
			differs = true
			return fs.SkipAll
		}
		have, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if !bytes.Equal(have, want.data) || info.Mode().Perm()&want.mode != want.mode {
			differs = true
			return fs.SkipAll
		}
		seen++
		return nil
	})
	return err == nil && !differs && seen == len(files)
}

// linkNames makes each top-level name a link into ..data.
func linkNames(dir string, files map[string]file) error {
	for name := range files {
		top, _, _ := strings.Cut(name, "/")
		link, target := filepath.Join(dir, top), filepath.Join(dataLink, top)
		if have, err := os.Readlink(link); err == nil && have == target {
			continue
		}
		if err := os.Symlink(target, link); err != nil && !os.IsExist(err) {
			return err
		}
	}
	return nil
}

// removeStale removes links to names that are gone and directories of earlier moments.
func removeStale(dir, current string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.Name() == dataLink || e.Name() == current:
		case e.IsDir() && strings.HasPrefix(e.Name(), ".."):
			err = errors.Join(err, os.RemoveAll(path))
		case e.Type()&fs.ModeSymlink != 0:
			if _, serr := os.Stat(path); os.IsNotExist(serr) {
				err = errors.Join(err, os.Remove(path))
			}
		}
	}
	return err
}

// checkPath refuses a file name that leaves the volume or collides with its bookkeeping.
func checkPath(name string) error {
	switch {
	case name == "":
		return errors.New("invalid path: must not be empty")
	case filepath.IsAbs(name):
		return fmt.Errorf("invalid path: must be relative path: %s", name)
	case slices.Contains(strings.Split(name, "/"), ".."):
		return fmt.Errorf("invalid path: must not contain '..': %s", name)
	case strings.HasPrefix(name, ".."):
		return fmt.Errorf("invalid path: must not start with '..': %s", name)
	}
	return nil
}
