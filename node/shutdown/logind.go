package shutdown

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

// The names of systemd's login manager on the bus.
const (
	loginService   = "org.freedesktop.login1"
	loginPath      = dbus.ObjectPath("/org/freedesktop/login1")
	loginInterface = "org.freedesktop.login1.Manager"
)

// patienceFile raises the time for which the login manager lets itself be held back. Upstream's name: who has
// had a kubelet on the machine finds the same file.
const patienceFile = "/etc/systemd/logind.conf.d/99-kubelet.conf"

// Logind is systemd's login manager.
type Logind struct {
	bus  *dbus.Conn
	file string
	done chan struct{}
	wg   sync.WaitGroup
}

// ConnectLogind connects to the login manager over the system's message bus.
func ConnectLogind(ctx context.Context) (Login, error) {
	bus, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("connect to the system's message bus: %w", err)
	}
	return &Logind{bus: bus, file: patienceFile, done: make(chan struct{})}, nil
}

// Close ends the connection. It is called once.
func (l *Logind) Close() error {
	close(l.done)
	defer l.wg.Wait()
	return l.bus.Close()
}

func (l *Logind) login() dbus.BusObject { return l.bus.Object(loginService, loginPath) }

// patience returns how long the login manager lets itself be held back.
func (l *Logind) patience() (time.Duration, error) {
	v, err := l.login().GetProperty(loginInterface + ".InhibitDelayMaxUSec")
	if err != nil {
		return 0, fmt.Errorf("failed reading InhibitDelayMaxUSec property from logind: %w", err)
	}
	us, ok := v.Value().(uint64)
	if !ok {
		return 0, fmt.Errorf("InhibitDelayMaxUSec from logind is not a uint64 as expected")
	}
	return time.Duration(us) * time.Microsecond, nil
}

// Allow raises the login manager's patience to d, if it has less.
func (l *Logind) Allow(ctx context.Context, d time.Duration) error {
	if has, err := l.patience(); err != nil || has >= d {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(l.file), 0o755); err != nil {
		return fmt.Errorf("unable to override inhibit delay by shutdown manager: %w", err)
	}
	text := fmt.Sprintf("# Kubelet logind override\n[Login]\nInhibitDelayMaxSec=%.0f\n", d.Seconds())
	if err := os.WriteFile(l.file, []byte(text), 0o644); err != nil {
		return fmt.Errorf("unable to override inhibit delay by shutdown manager: %w", err)
	}
	const hangup = int32(1)
	systemd := l.bus.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1")
	if err := systemd.CallWithContext(ctx, "org.freedesktop.systemd1.Manager.KillUnit", 0, "systemd-logind.service", "all", hangup).Err; err != nil {
		return fmt.Errorf("unable to reload logind conf: %w", err)
	}
	return l.awaitPatience(ctx, d)
}

// awaitPatience waits until the login manager has read its configuration again: it says nothing when it has.
func (l *Logind) awaitPatience(ctx context.Context, d time.Duration) error {
	var has time.Duration
	for attempt, pause := 1, 100*time.Millisecond; attempt <= 5; attempt, pause = attempt+1, 2*pause {
		var err error
		if has, err = l.patience(); err != nil || has >= d {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
	return fmt.Errorf("node shutdown manager was timed out waiting for logind InhibitDelayMaxSec to update to %v (ShutdownGracePeriod), current value is %v", d, has)
}

// Hold takes an inhibitor lock. It is let go when its file is closed: by release, or by our end.
func (l *Logind) Hold(ctx context.Context) (release func() error, err error) {
	var fd dbus.UnixFD
	call := l.login().CallWithContext(ctx, loginInterface+".Inhibit", 0, "shutdown", "kubelet", "Kubelet needs time to handle node shutdown", "delay")
	if call.Err != nil {
		return nil, fmt.Errorf("failed creating systemd inhibitor: %w", call.Err)
	}
	if err := call.Store(&fd); err != nil {
		return nil, fmt.Errorf("failed storing inhibit lock file descriptor: %w", err)
	}
	lock := os.NewFile(uintptr(fd), "shutdown inhibitor")
	return sync.OnceValue(lock.Close), nil
}

// Announced listens for PrepareForShutdown.
func (l *Logind) Announced(ctx context.Context) (<-chan bool, error) {
	err := l.bus.AddMatchSignalContext(ctx, dbus.WithMatchInterface(loginInterface), dbus.WithMatchMember("PrepareForShutdown"), dbus.WithMatchObjectPath(loginPath))
	if err != nil {
		return nil, err
	}
	signals := make(chan *dbus.Signal, 4)
	l.bus.Signal(signals) // closed with the connection
	out := make(chan bool)
	l.wg.Go(func() {
		defer close(out)
		for s := range signals {
			now, ok := announcement(s)
			if !ok {
				continue
			}
			select {
			case out <- now:
			case <-l.done:
				return
			}
		}
	})
	return out, nil
}

// announcement reads a signal: whether the machine is about to shut down.
func announcement(s *dbus.Signal) (now, ok bool) {
	if s == nil || s.Name != loginInterface+".PrepareForShutdown" || len(s.Body) == 0 {
		return false, false
	}
	now, ok = s.Body[0].(bool)
	return now, ok
}
