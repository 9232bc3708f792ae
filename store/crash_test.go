package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/store"
	"clipper/store/log/etcd/etcdtest"
	"clipper/store/log/pebble"
)

const crashDirEnv = "CLIPPER_STORE_CRASH_DIR" // tells the test binary to be the process that is killed

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDirEnv); dir != "" {
		if err := writeForEver(dir, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	etcdtest.Main(m)
}

// TestKill kills a process that writes with many writers, at random instants, 200 times. Whatever it
// acknowledged or showed to a watch, and told of through a pipe, is there afterwards, whole.
func TestKill(t *testing.T) {
	rounds := 200
	if testing.Short() {
		rounds = 20
	}
	dir := t.TempDir()
	acks := ledger{}
	writes := 0
	for round := range rounds {
		n, err := acks.round(dir, time.Duration(rand.IntN(40)*int(time.Millisecond)))
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		writes += n
		if round%3 == 2 || round == rounds-1 { // in between, the next victim starts from what this one left
			if err := acks.check(dir); err != nil {
				t.Fatalf("round %d, after %d acknowledged writes: %v", round, writes, err)
			}
		}
	}
	t.Logf("%d kills, %d acknowledged writes", rounds, writes)
}

// A ledger holds the last acknowledged state of every key, and the last revision that anybody was told of.
type ledger struct {
	keys map[string]ack
	last int64
}

type ack struct {
	revision int64
	deleted  bool
	deleting bool // announced after revision: it may have become durable without acknowledgement
}

// round starts a victim, lets it write for a while after its first acknowledgement, and kills it.
func (l *ledger) round(dir string, load time.Duration) (int, error) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDirEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	lines := bufio.NewReader(out)
	n := 0
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			break // a line that was cut is not an acknowledgement
		}
		if err != nil {
			return n, err
		}
		if n++; n == 1 {
			kill := time.AfterFunc(load, func() { cmd.Process.Signal(syscall.SIGKILL) })
			defer kill.Stop()
		}
		if err := l.add(line); err != nil {
			return n, err
		}
	}
	if err := cmd.Wait(); cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		return n, fmt.Errorf("the writer ended by itself: %w", err)
	}
	return n, nil
}

func (l *ledger) add(line string) error {
	var rev int64
	var key, what string
	if _, err := fmt.Sscan(line, &rev, &key, &what); err != nil {
		return fmt.Errorf("acknowledgement %q: %w", line, err)
	}
	if l.keys == nil {
		l.keys = map[string]ack{}
	}
	if what == "seen" {
		l.last = max(l.last, rev)
		return nil
	}
	prev := l.keys[key]
	if what == "deleting" {
		prev.deleting = true
		l.keys[key] = prev
		return nil
	}
	if prev.revision >= rev {
		return fmt.Errorf("%s was acknowledged at %d after %d", key, rev, prev.revision)
	}
	l.keys[key] = ack{revision: rev, deleted: what == "deleted"}
	l.last = max(l.last, rev)
	return nil
}

// check opens the store and compares. States that were durable but not acknowledged any more may be
// there: they are newer.
func (l *ledger) check(dir string) error {
	log, err := pebble.Open(dir, nil)
	if err != nil {
		return err
	}
	s, err := store.Open(log, options())
	if err != nil {
		return err
	}
	defer s.Close()
	var errs []error
	if s.Revision() < l.last {
		errs = append(errs, fmt.Errorf("revision %d, shown %d", s.Revision(), l.last))
	}
	for name, a := range l.keys {
		it, ok := s.Get(crashKey(name))
		switch {
		case !ok && (a.deleted || a.deleting || a.revision == 0):
		case !ok:
			errs = append(errs, fmt.Errorf("%s of revision %d is missing", name, a.revision))
		case ok && a.deleted && it.Created <= a.revision:
			errs = append(errs, fmt.Errorf("%s, deleted at %d, is there from %d", name, a.revision, it.Created))
		case ok && it.Revision < a.revision:
			errs = append(errs, fmt.Errorf("%s is of %d, acknowledged %d", name, it.Revision, a.revision))
		}
	}
	s.Snapshot("configmaps").Ascend("", store.Key{}, func(it *store.Item) bool {
		cm := it.Object.(*corev1.ConfigMap)
		if cm.Labels["sum"] != sum(cm.Data["text"]) {
			errs = append(errs, fmt.Errorf("%s at %d is not what was written", it.Key.Name, it.Revision))
		}
		return true
	})
	return errors.Join(errs...)
}

func crashKey(name string) store.Key {
	return store.Key{Resource: "configmaps", Namespace: "ns", Name: name}
}

func sum(text string) string { return fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(text))) }

// writeForEver is the victim: 16 writers, each on its own keys, and a watch, that say on out what they were told.
func writeForEver(dir string, out io.Writer) error {
	log, err := pebble.Open(dir, nil)
	if err != nil {
		return err
	}
	o := options()
	o.CheckMutation = false
	s, err := store.Open(log, o)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	say := func(rev int64, name, what string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(out, rev, name, what)
	}
	errs := make(chan error)
	go func() { errs <- watchForEver(s, say) }()
	for w := range 16 {
		go func() {
			for {
				if err := writeOnce(s, fmt.Sprintf("w%d-%d", w, rand.IntN(12)), say); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	return <-errs
}

// watchForEver tells of the revisions that a watch shows: those must be durable as well.
func watchForEver(s *store.Store, say func(rev int64, name, what string)) error {
	w, err := s.Watch("configmaps", "", s.Revision())
	for err == nil {
		var revision int64
		if _, revision, err = w.Next(context.Background()); err == nil {
			say(revision, "watch", "seen")
		}
	}
	return err
}

// writeOnce makes one write and says so. It announces deletions beforehand: afterwards nothing would
// tell a deletion without acknowledgement from a loss.
func writeOnce(s *store.Store, name string, say func(rev int64, name, what string)) error {
	w, what := store.Write{Key: crashKey(name)}, "written"
	it, ok := s.Get(w.Key)
	if ok {
		w.Expect = it.Revision
	}
	if ok && rand.IntN(4) == 0 {
		what = "deleted"
		say(0, name, "deleting")
	} else {
		text := strings.Repeat(fmt.Sprintf("%d ", rand.Uint64()), rand.IntN(200))
		w.Object = &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Labels: map[string]string{"sum": sum(text)}},
			Data:       map[string]string{"text": text},
		}
	}
	it, err := s.Commit(context.Background(), w)
	if err != nil {
		return err
	}
	say(it.Revision, name, what)
	return nil
}
