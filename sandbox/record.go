package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A record is what is written down of a sandbox, in sandbox.json of its directory.
type record struct {
	Nodes     int             `json:"nodes"`
	Port      int             `json:"port"` // of the API on 127.0.0.1
	Created   time.Time       `json:"created"`
	Boot      string          `json:"boot"` // of the machine, when the processes were started
	Processes map[int]process `json:"processes"`
}

// A process is known by its number and the time it started: numbers are used again.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since boot
	// Since is when it was started by the clock, in the seconds that conditions are given in.
	Since time.Time `json:"since"`
}

func (r record) running(node int) bool {
	p, ok := r.Processes[node]
	return ok && r.Boot == bootID() && p.alive()
}

func (r *record) setProcess(node int, p process) {
	if boot := bootID(); r.Boot != boot {
		r.Boot, r.Processes = boot, nil
	}
	if r.Processes == nil {
		r.Processes = map[int]process{}
	}
	r.Processes[node] = p
}

func (p process) alive() bool {
	start, state, err := processStart(p.PID)
	return err == nil && start == p.Start && state != 'Z' && state != 'X'
}

// processStart reads fields 22 and 3 of /proc/PID/stat.
func processStart(pid int) (start uint64, state byte, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	end := strings.LastIndexByte(string(data), ')') // the name before it may hold anything
	fields := strings.Fields(string(data[end+1:]))
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(fields))
	}
	_, err = fmt.Sscan(fields[19], &start)
	return start, fields[0][0], err
}

func bootID() string {
	data, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // always there with /proc
	return strings.TrimSpace(string(data))
}

func (s Sandbox) recordPath() string { return s.path("sandbox.json") }

func (s Sandbox) load() (rec record, found bool, err error) {
	data, err := os.ReadFile(s.recordPath())
	if errors.Is(err, os.ErrNotExist) {
		return rec, false, nil
	}
	if err != nil {
		return rec, false, err
	}
	if err := json.Unmarshal(data, &rec); err != nil {
		return rec, false, fmt.Errorf("%s is damaged: %w; run 'clipper sandbox delete %s'", s.recordPath(), err, s.Name)
	}
	return rec, true, nil
}

func (s Sandbox) save(rec record) error {
	data, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(s.recordPath(), data)
}

// writeFile replaces a file in one step, readable by its owner only.
func writeFile(path string, data []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// lock makes the sandbox's directory and holds it against other commands on the same sandbox. The
// directory itself is the lock, so that no lock file stays when it goes.
func (s Sandbox) lock() (unlock func(), err error) {
	for {
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return nil, err
		}
		f, err := os.Open(s.dir)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", s.dir, err)
		}
		locked, err := f.Stat()
		if now, e := os.Stat(s.dir); err == nil && e == nil && os.SameFile(locked, now) {
			return func() { f.Close() }, nil
		}
		f.Close() // it was deleted while we waited for it
	}
}

// exists reports whether there is anything of the sandbox.
func (s Sandbox) exists() bool { return exists(s.dir) }

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// A Summary is a line of the list of sandboxes.
type Summary struct {
	Name    string
	Nodes   int
	Running int // node processes
	Server  string
	Created time.Time
}

// List returns all sandboxes.
func List() ([]Summary, error) {
	entries, err := os.ReadDir(root())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list sandboxes: %w", err)
	}
	var out []Summary
	for _, e := range entries {
		s, err := Named(e.Name())
		if err != nil || !e.IsDir() {
			continue
		}
		rec, found, err := s.load()
		if err != nil {
			return nil, fmt.Errorf("list sandboxes: %w", err)
		}
		if !found {
			rec = record{} // left by a crash before the record: shown, so that it can be deleted
		}
		sum := Summary{Name: filepath.Base(s.dir), Nodes: rec.Nodes, Created: rec.Created}
		if rec.Port != 0 {
			sum.Server = fmt.Sprintf("https://127.0.0.1:%d", rec.Port)
		}
		for i := 1; i <= rec.Nodes; i++ {
			if rec.running(i) {
				sum.Running++
			}
		}
		out = append(out, sum)
	}
	return out, nil
}
