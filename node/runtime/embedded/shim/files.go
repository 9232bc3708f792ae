package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// writeJSON replaces the file at path atomically: a reader, or a shim after a crash, sees the old or the new
// content. It is not synced: what it tells dies with the machine's power, as the containers do.
//
// The old file is not removed but kept, hidden, to be written the next time. A file system takes longer to find a
// place for a new file when many have just been removed: in a burst of starts, a tenth of the shim's time.
func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	if err := overwrite(tmp, data); err != nil {
		return err
	}
	err = unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, path, unix.RENAME_EXCHANGE)
	if err == nil {
		return nil
	}
	// There is none yet, or the file system cannot exchange.
	return os.Rename(tmp, path)
}

// overwrite makes data the content of the file at path. Not by truncating it first, which makes some file systems
// write it to disk at once.
func overwrite(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	n, err := f.Write(data)
	if err == nil {
		err = f.Truncate(int64(n))
	}
	return errors.Join(err, f.Close())
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func (s *Server) sandboxDir(id string) string { return filepath.Join(s.opts.StateDir, "sandboxes", id) }
func (s *Server) containerDir(id string) string {
	return filepath.Join(s.opts.StateDir, "containers", id)
}
func (s *Server) libcontainerDir() string { return filepath.Join(s.opts.StateDir, "libcontainer") }

// checkID refuses what is not a plain file name.
func checkID(id string) error {
	if id == "" || id == "." || id == ".." || len(id) > 200 || filepath.Base(id) != id {
		return fmt.Errorf("invalid ID %q", id)
	}
	return nil
}
