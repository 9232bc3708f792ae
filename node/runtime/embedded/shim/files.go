package shim

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// writeJSON replaces the file at path atomically: a reader, or a shim after a crash, sees the old or the new
// content. It is not synced: what it tells dies with the machine's power, as the containers do.
func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
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
