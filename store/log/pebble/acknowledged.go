package pebble

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// An acknowledged file remembers, without a sync of its own, the last revision whose append succeeded.
// The database cannot always tell a damaged tail of its write-ahead file from one that a crash cut off
// before it was synced; both are where reading ends. This file can: it survives a crash of the process,
// and after a loss of power it holds an older revision, never one that was not durable.
type acknowledged struct {
	name string
	f    vfs.File
	last int64
}

func openAcknowledged(fs vfs.FS, name string) (*acknowledged, error) {
	f, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	a := &acknowledged{name: name, f: f}
	var b [8]byte
	switch _, err := f.ReadAt(b[:], 0); {
	case errors.Is(err, io.EOF): // new
	case err != nil:
		return nil, errors.Join(fmt.Errorf("read %s: %w", name, err), f.Close())
	default:
		a.last = int64(binary.BigEndian.Uint64(b[:]))
	}
	return a, nil
}

func (a *acknowledged) set(revision int64) error {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(revision))
	if _, err := a.f.WriteAt(b[:], 0); err != nil {
		return fmt.Errorf("write %s: %w", a.name, err)
	}
	a.last = revision
	return nil
}

// check compares what was acknowledged with what the database gave back.
func (a *acknowledged) check(dir string, revision int64) error {
	if revision >= a.last {
		return nil
	}
	return fmt.Errorf("load store from %s: writes %d to %d were acknowledged and are missing: its write-ahead file (*.log) is damaged; "+
		"restore the directory from a backup, or remove %s to go on without them", dir, revision+1, a.last, a.name)
}
