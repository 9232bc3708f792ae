package shutdown

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/node/podworker/lifecycle"
)

// privateBus starts a message bus of our own and makes it the system's for this test.
func privateBus(t *testing.T) {
	t.Helper()
	path, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("no dbus-daemon on this machine")
	}
	dir := t.TempDir()
	address := "unix:path=" + filepath.Join(dir, "bus")
	config := `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>` + address + `</listen><policy context="default"><allow send_destination="*"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`
	file := filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--config-file="+file, "--nofork", "--nopidfile", "--print-address")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil { // it listens once it says where
		t.Fatal(err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
}

// fakeLogind plays the login manager and the part of systemd that reloads it.
type fakeLogind struct {
	conn *dbus.Conn
	file string // with which its patience is raised

	mu       sync.Mutex
	patience uint64 // µs
	locks    []*os.File
}

func startLogind(t *testing.T, patience time.Duration) *fakeLogind {
	t.Helper()
	conn, err := dbus.ConnectSystemBus()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	f := &fakeLogind{conn: conn, file: filepath.Join(t.TempDir(), "logind.conf.d", "99-kubelet.conf"), patience: uint64(patience.Microseconds())}
	export := func(v any, path dbus.ObjectPath, iface string) {
		if err := conn.Export(v, path, iface); err != nil {
			t.Fatal(err)
		}
	}
	export(f, loginPath, loginInterface)
	export(properties{f}, loginPath, "org.freedesktop.DBus.Properties")
	export(systemd{f}, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
	for _, name := range []string{loginService, "org.freedesktop.systemd1"} {
		if _, err := conn.RequestName(name, dbus.NameFlagDoNotQueue); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// Inhibit hands out one end of a pipe: the lock is held for as long as it is open.
func (f *fakeLogind) Inhibit(what, who, why, mode string) (dbus.UnixFD, *dbus.Error) {
	if what != "shutdown" || mode != "delay" || who != "kubelet" {
		return 0, dbus.MakeFailedError(fmt.Errorf("inhibit %s %s %s", what, who, mode))
	}
	r, w, err := os.Pipe()
	if err != nil {
		return 0, dbus.MakeFailedError(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.locks = append(f.locks, r)
	fd := dbus.UnixFD(w.Fd())
	// The answer carries a copy; ours is closed once that is surely sent.
	time.AfterFunc(time.Second, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		w.Close()
	})
	return fd, nil
}

type properties struct{ *fakeLogind }

func (p properties) Get(iface, name string) (dbus.Variant, *dbus.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if iface+"."+name != loginInterface+".InhibitDelayMaxUSec" {
		return dbus.Variant{}, dbus.MakeFailedError(errors.New(name))
	}
	return dbus.MakeVariant(p.patience), nil
}

type systemd struct{ *fakeLogind }

// KillUnit reads the configuration again.
func (s systemd) KillUnit(unit, who string, signal int32) *dbus.Error {
	data, err := os.ReadFile(s.file)
	if err != nil || unit != "systemd-logind.service" || signal != 1 {
		return dbus.MakeFailedError(fmt.Errorf("%s %d %w", unit, signal, err))
	}
	_, value, _ := strings.Cut(string(data), "InhibitDelayMaxSec=")
	var seconds uint64
	if _, err := fmt.Sscan(value, &seconds); err != nil {
		return dbus.MakeFailedError(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.patience = seconds * 1e6
	return nil
}

func (f *fakeLogind) announce(t *testing.T, now bool) {
	t.Helper()
	if err := f.conn.Emit(loginPath, loginInterface+".PrepareForShutdown", now); err != nil {
		t.Fatal(err)
	}
}

func (f *fakeLogind) held() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.locks)
}

// fakeNode has three pods; what happens to them is told by events.
type fakeNode struct {
	mu     sync.Mutex
	ended  map[types.UID]bool
	stuck  types.UID
	events chan string
}

func (n *fakeNode) config(t *testing.T, periods []Period, connect func(context.Context) (Login, error)) Config {
	var pods []*corev1.Pod
	for _, p := range []*corev1.Pod{pod("plain", 0, 30), pod("important", 500, 1), pod("critical", 2_000_000_000, 30)} {
		p.UID = types.UID(p.Name)
		pods = append(pods, p)
	}
	return Config{Periods: periods, Connect: connect, Pods: func() []*corev1.Pod { return pods },
		End: func(p *corev1.Pod, v lifecycle.Verdict) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.ended[p.UID] = p.UID != n.stuck
			n.events <- fmt.Sprintf("end %s after %v: %s %s %s", p.Name, *v.Grace, v.Phase, v.Reason, v.Condition.Type)
		},
		Ended: func(uid types.UID) bool {
			n.mu.Lock()
			defer n.mu.Unlock()
			return n.ended[uid]
		},
		Changed:   func(now bool) { n.events <- fmt.Sprintf("shutting down: %v", now) },
		Event:     func(reason, message string) { n.events <- reason + ": " + message },
		StateFile: filepath.Join(t.TempDir(), "state"),
	}
}

// expect reads one event after the other.
func (n *fakeNode) expect(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-n.events:
			if got != w {
				t.Fatalf("got %q, want %q", got, w)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("waited in vain for %q", w)
		}
	}
}

// eventually waits for what another process does.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestShutdownIsHeldBackUntilPodsHaveEnded(t *testing.T) {
	privateBus(t)
	login := startLogind(t, 5*time.Second)
	connect := func(ctx context.Context) (Login, error) {
		l, err := ConnectLogind(ctx)
		if err != nil {
			return nil, err
		}
		l.(*Logind).file = login.file
		return l, nil
	}
	n := &fakeNode{ended: map[types.UID]bool{}, stuck: "plain", events: make(chan string, 20)}
	m := New(n.config(t, []Period{{0, 2 * time.Second}, {2_000_000_000, 10 * time.Second}}, connect))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	eventually(t, "the lock", func() bool { return login.held() == 1 })
	login.mu.Lock()
	if login.patience != 12e6 {
		t.Errorf("the login manager waits for %d µs, want 12 s", login.patience)
	}
	lock := login.locks[0]
	login.mu.Unlock()
	// The lock is taken before the signal is listened to: announce until it is heard.
	heard := false
	eventually(t, "the announcement", func() bool {
		if !heard {
			login.announce(t, true)
			time.Sleep(50 * time.Millisecond)
		}
		heard = m.ShuttingDown()
		return heard
	})
	began := time.Now()
	n.expect(t, "Shutdown: Shutdown manager detected shutdown event", "shutting down: true",
		"end plain after 2s: Failed Terminated DisruptionTarget", "end important after 1s: Failed Terminated DisruptionTarget",
		"end critical after 10s: Failed Terminated DisruptionTarget")
	if took := time.Since(began); took < 1500*time.Millisecond {
		t.Errorf("critical pods were ended after %v, although one before them had 2 s and did not end", took)
	}
	released := make(chan struct{})
	go func() {
		_, _ = lock.Read(make([]byte, 1)) // ends with the last copy of the lock
		close(released)
	}()
	select {
	case <-released:
	case <-time.After(20 * time.Second):
		t.Error("the lock is held on")
	}
	if s, e := testutil.ToFloat64(m.start), testutil.ToFloat64(m.end); s == 0 || e < s {
		t.Errorf("metrics say from %v to %v", s, e)
	}
	again := New(m.cfg)
	again.recall()
	if testutil.ToFloat64(again.start) != testutil.ToFloat64(m.start) {
		t.Error("the time of the shutdown is forgotten")
	}
	login.announce(t, false)
	eventually(t, "the cancellation", func() bool { return !m.ShuttingDown() && login.held() == 2 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A deafLogin is a login manager that gives a lock once.
type deafLogin struct {
	announced chan bool
	held      int
}

func (l *deafLogin) Allow(context.Context, time.Duration) error { return nil }

func (l *deafLogin) Hold(context.Context) (func() error, error) {
	if l.held++; l.held > 1 {
		return nil, errors.New("no more locks")
	}
	return func() error { return nil }, nil
}

func (l *deafLogin) Announced(context.Context) (<-chan bool, error) { return l.announced, nil }

func (l *deafLogin) Close() error { return nil }

// TestNoLockAfterCancellation: that a shutdown which is called off leaves no lock for the next one is an error, and no more.
func TestNoLockAfterCancellation(t *testing.T) {
	n := &fakeNode{events: make(chan string, 20)}
	login := &deafLogin{announced: make(chan bool, 1)}
	login.announced <- false
	m := New(n.config(t, []Period{{0, time.Second}}, func(context.Context) (Login, error) { return login, nil }))
	if err := m.watch(t.Context()); err == nil || err.Error() != "no more locks" || login.held != 2 {
		t.Errorf("%v, after %d locks", err, login.held)
	}
}

func TestWithoutTimeForPods(t *testing.T) {
	n := &fakeNode{events: make(chan string, 1)}
	m := New(n.config(t, nil, func(context.Context) (Login, error) { t.Error("connected"); return nil, errors.New("no") }))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := m.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestAnnouncement(t *testing.T) {
	for _, tc := range []struct {
		s       *dbus.Signal
		now, ok bool
	}{
		{nil, false, false},
		{&dbus.Signal{Name: "other", Body: []any{true}}, false, false},
		{&dbus.Signal{Name: loginInterface + ".PrepareForShutdown"}, false, false},
		{&dbus.Signal{Name: loginInterface + ".PrepareForShutdown", Body: []any{"yes"}}, false, false},
		{&dbus.Signal{Name: loginInterface + ".PrepareForShutdown", Body: []any{true}}, true, true},
		{&dbus.Signal{Name: loginInterface + ".PrepareForShutdown", Body: []any{false}}, false, true},
	} {
		if now, ok := announcement(tc.s); now != tc.now || ok != tc.ok {
			t.Errorf("%v: got %v, %v", tc.s, now, ok)
		}
	}
}
