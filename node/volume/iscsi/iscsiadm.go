package iscsi

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// diskTimeout is how long a disk may take to appear after the login. Upstream's figure.
const diskTimeout = 30 * time.Second

// Exit codes of iscsiadm that tell that there is nothing to be done.
const (
	sessionNotFound = 2
	sessionExists   = 15
	noObjectsFound  = 21
)

// Login makes the disk appear by every portal that answers; one is enough.
func (l *LUN) Login(ctx context.Context, secret map[string][]byte) error {
	var errs []error
	ok := false
	for _, portal := range l.Portals {
		if err := l.loginBy(ctx, portal, secret); err != nil {
			errs = append(errs, err)
			continue
		}
		ok = true
	}
	if ok {
		return nil
	}
	return errors.Join(errs...)
}

func (l *LUN) loginBy(ctx context.Context, portal string, secret map[string][]byte) error {
	db := slices.Clip([]string{"-m", "discoverydb", "-t", "sendtargets", "-p", portal, "-I", l.Interface}) // appended to, never shared
	node := slices.Clip([]string{"-m", "node", "-p", portal, "-T", l.IQN, "-I", l.Interface})
	if _, err := iscsiadm(ctx, append(db, "-o", "new")...); err != nil {
		return err
	}
	if l.chapDiscovery {
		if err := setCHAP(ctx, db, "discovery.sendtargets.auth.", secret); err != nil {
			return err
		}
	}
	if _, err := iscsiadm(ctx, append(db, "--discover")...); err != nil {
		return fmt.Errorf("iscsi: failed to sendtargets to portal %s: %w", portal, err)
	}
	if l.chapLogin {
		if err := setCHAP(ctx, node, "node.session.auth.", secret); err != nil {
			return err
		}
	}
	if _, err := iscsiadm(ctx, append(node, "-o", "update", "-n", "node.startup", "-v", "manual")...); err != nil {
		return err // else a machine that boots would wait for targets that pods have used
	}
	if code, err := iscsiadm(ctx, append(node, "--login")...); err != nil && code != sessionExists {
		return fmt.Errorf("iscsi: failed to attach disk: %w", err)
	} else if code == sessionExists { // another volume's: this disk may be new
		if _, err := iscsiadm(ctx, append(node, "--rescan")...); err != nil {
			return err
		}
	}
	return l.await(ctx, portal)
}

// setCHAP tells the tool names and passwords: those keys of the secret that belong to the setting.
func setCHAP(ctx context.Context, record []string, setting string, secret map[string][]byte) error {
	if _, err := iscsiadm(ctx, append(record, "-o", "update", "-n", setting+"authmethod", "-v", "CHAP")...); err != nil {
		return fmt.Errorf("iscsi: failed to update with CHAP: %w", err)
	}
	for _, key := range []string{"username", "password", "username_in", "password_in"} {
		if v := secret[setting+key]; len(v) > 0 {
			if _, err := iscsiadm(ctx, append(record, "-o", "update", "-n", setting+key, "-v", string(v))...); err != nil {
				return fmt.Errorf("iscsi: failed to update key %q: %w", setting+key, err)
			}
		}
	}
	return nil
}

// iscsiadm runs the system's tool. Its arguments may be secret: errors do not show them.
func iscsiadm(ctx context.Context, args ...string) (code int, err error) {
	out, err := exec.CommandContext(ctx, "iscsiadm", args...).CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return -1, fmt.Errorf("iscsiadm is not installed on this node; install open-iscsi: %w", err)
	case errors.As(err, &exit):
		return exit.ExitCode(), fmt.Errorf("iscsiadm: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return 0, err
}

// link is where udev shows the disk as it is seen through a portal.
func (l *LUN) link(portal string) string {
	return fmt.Sprintf("%s/ip-%s-iscsi-%s-lun-%d", l.links, strings.NewReplacer("[", "", "]", "").Replace(portal), l.IQN, l.Number)
}

func (l *LUN) await(ctx context.Context, portal string) error {
	ctx, cancel := context.WithTimeout(ctx, diskTimeout)
	defer cancel()
	for {
		if _, err := os.Stat(l.link(portal)); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("timed out waiting for device at path %s after %v", l.link(portal), diskTimeout)
		case <-time.After(200 * time.Millisecond): // udev tells nobody but its own
		}
	}
}

// Device returns the disk: the one that joins several ways to it, if there is one.
func (l *LUN) Device() (string, error) {
	for _, portal := range l.Portals {
		disk, err := filepath.EvalSymlinks(l.link(portal))
		if err != nil {
			continue
		}
		if joined, _ := filepath.Glob("/sys/block/" + filepath.Base(disk) + "/holders/dm-*"); len(joined) > 0 {
			return "/dev/" + filepath.Base(joined[0]), nil
		}
		return disk, nil
	}
	return "", fmt.Errorf("no disk %d of %s is there", l.Number, l.IQN)
}

// Logout ends the sessions with the target, and forgets it.
func (l *LUN) Logout(ctx context.Context) error {
	for _, portal := range l.Portals {
		for _, step := range [][]string{{"--logout"}, {"-o", "delete"}} {
			args := append([]string{"-m", "node", "-p", portal, "-T", l.IQN, "-I", l.Interface}, step...)
			if code, err := iscsiadm(ctx, args...); err != nil && code != sessionNotFound && code != noObjectsFound {
				return err
			}
		}
	}
	return nil
}
