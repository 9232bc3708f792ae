package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

func timeOf(t unix.Timespec) time.Time { return time.Unix(t.Sec, t.Nsec) }

// CollectGarbage removes blobs and layers that neither an image nor a snapshot needs, and what interrupted
// processes left behind. It does nothing while something is being added: whoever adds collects afterwards.
func (s *Store) CollectGarbage() error {
	release, err := s.flock("lock", unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, errBusy) {
		return nil
	}
	if err != nil {
		return err
	}
	defer release()
	ix, err := s.index()
	if err != nil {
		return err
	}
	keepBlobs, keepLayers := map[string]bool{}, map[string]bool{}
	for _, r := range ix.Images {
		keepBlobs[filepath.Base(s.blobPath(r.ID))] = true
		keepBlobs[filepath.Base(s.blobPath(r.Manifest))] = true
		for _, l := range r.Layers {
			keepBlobs[filepath.Base(s.blobPath(l.Blob))] = true
			keepLayers[filepath.Base(s.layerPath(l.DiffID))] = true
		}
	}
	snapshots, err := s.allSnapshots()
	if err != nil {
		return err
	}
	for _, sn := range snapshots {
		for _, d := range sn.Layers {
			keepLayers[filepath.Base(s.layerPath(d))] = true
		}
	}
	return errors.Join(
		removeAllBut(s.path("tmp"), nil),
		removeAllBut(s.path("blobs", "sha256"), keepBlobs),
		s.removeLayersBut(keepLayers),
	)
}

func removeAllBut(dir string, keep map[string]bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if !keep[e.Name()] {
			errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// removeLayersBut moves a layer away before it removes it: a half-removed one must not have its final name.
func (s *Store) removeLayersBut(keep map[string]bool) error {
	entries, err := os.ReadDir(s.path("layers"))
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if keep[e.Name()] {
			continue
		}
		trash := s.path("tmp", "removed-"+e.Name())
		err := os.Rename(s.path("layers", e.Name()), trash)
		if err == nil {
			err = os.RemoveAll(trash)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove layer: %w", err))
		}
	}
	return errors.Join(errs...)
}
