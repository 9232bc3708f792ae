package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// settled is when a process has given back what only its start, or a load, needed.
const settled = 150 * time.Second

// idleServer measures a control plane without a node and without objects of users.
func idleServer(ctx context.Context, b *bench) error {
	return b.withServer(ctx, func(s *server) error {
		if err := wait(ctx, time.Minute); err != nil {
			return err
		}
		report("Idle/nodes=0", float64(pss(s.cmd.Process.Pid))/(1<<20), "MB-PSS")
		return nil
	})
}

// storedObjects measures what 50,000 objects of 1 KB cost: memory while the server runs on that they were
// written to, memory after a restart, and that restart's time.
func storedObjects(ctx context.Context, b *bench) error {
	const objects = 50000
	dir, err := os.MkdirTemp(b.dir, "stored-")
	if err != nil {
		return err
	}
	perObject := func(s *server, empty int64) float64 {
		return float64(pss(s.cmd.Process.Pid)-empty) / objects
	}
	s, _, err := b.startServerIn(ctx, dir)
	if err != nil {
		return err
	}
	empty, written, err := func() (int64, float64, error) {
		if err := wait(ctx, settled); err != nil {
			return 0, 0, err
		}
		empty := pss(s.cmd.Process.Pid)
		if out, err := b.apiload(ctx, s.kubeconfig, "write", "-n", strconv.Itoa(objects), "-c", "64", "-size", "1024"); err != nil {
			return 0, 0, fmt.Errorf("%w\n%s", err, out)
		}
		err := wait(ctx, settled)
		return empty, perObject(s, empty), err
	}()
	if err = errors.Join(err, s.stop()); err != nil {
		return err
	}
	s, took, err := b.startServerIn(ctx, dir)
	if err != nil {
		return err
	}
	err = wait(ctx, settled)
	restarted := perObject(s, empty)
	if err = errors.Join(err, s.stop(), os.RemoveAll(filepath.Join(dir, "data"))); err != nil {
		return err
	}
	report("Stored/objects=50000", took.Seconds()*1e3, "readyz-ms", written, "B/object-written", restarted, "B/object-restarted")
	return nil
}
