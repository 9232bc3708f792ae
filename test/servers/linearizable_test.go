package servers

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"clipper/store/log/etcd/etcdtest"
	"clipper/test/register"
)

// history is what everyone saw: calls for porcupine, and states by revision, which all must agree about.
type history struct {
	*register.History
	t      *testing.T
	mu     sync.Mutex
	states map[int64]string // "key state" by resourceVersion
	shown  int64            // the greatest revision that anybody was told of
	lists  []listed
	gaps   []gap
}

// A gap is what a watch could not see: a server that starts again does not know what it told before.
type gap struct{ after, upTo int64 }

type listed struct {
	revision int64
	states   map[string]string
}

func (h *history) saw(cm *corev1.ConfigMap, gone bool) int64 {
	revision, err := strconv.ParseInt(cm.ResourceVersion, 10, 64)
	if err != nil {
		h.t.Errorf("%s has the resourceVersion %q", cm.Name, cm.ResourceVersion)
	}
	what := cm.Name + " " + cm.Data["state"]
	if gone {
		what = cm.Name + " "
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if had, ok := h.states[revision]; ok && had != what {
		h.t.Errorf("revision %d is %q and %q", revision, had, what)
	}
	h.states[revision], h.shown = what, max(h.shown, revision)
	return revision
}

// told remembers the revision of a list or of a bookmark.
func (h *history) told(resourceVersion string) int64 {
	revision, err := strconv.ParseInt(resourceVersion, 10, 64)
	if err != nil {
		h.t.Errorf("a list or a bookmark has the resourceVersion %q", resourceVersion)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shown = max(h.shown, revision)
	return revision
}

// lastShown is the revision that no kill may take back any more.
func (h *history) lastShown() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.shown
}

const namespace = "default"

// client gets, lists and writes few config maps until ctx ends.
func (h *history) client(ctx context.Context, id int, clients *kubernetes.Clientset) {
	maps := clients.CoreV1().ConfigMaps(namespace)
	rnd := rand.New(rand.NewPCG(3, uint64(id)))
	seen := map[string]*corev1.ConfigMap{}
	for n := 0; ctx.Err() == nil; n++ {
		name := fmt.Sprint("k", rnd.IntN(3))
		from := h.Now()
		switch rnd.IntN(6) {
		case 0:
			h.list(ctx, id, clients, from)
		case 1, 2:
			cm, err := maps.Get(ctx, name, metav1.GetOptions{})
			switch {
			case err == nil:
				h.saw(cm, false)
				seen[name] = cm
				h.Record(id, register.Call{Key: name}, from, register.Answer{State: cm.Data["state"]})
			case apierrors.IsNotFound(err):
				delete(seen, name)
				h.Record(id, register.Call{Key: name}, from, register.Answer{})
			}
		default:
			seen[name] = h.write(ctx, id, clients, name, seen[name], fmt.Sprintf("s%d-%d", id, n), rnd.IntN(5) == 0)
		}
		pause(ctx, rand.N(40*time.Millisecond)) // what is checked must stay few enough
	}
}

func (h *history) list(ctx context.Context, id int, clients *kubernetes.Clientset, from time.Duration) {
	shown := h.lastShown()
	list, err := clients.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{LabelSelector: "test"})
	if err != nil {
		return
	}
	revision := h.told(list.ResourceVersion)
	if revision < shown {
		h.t.Errorf("a list is at revision %d after somebody was told of %d: that one was not durable", revision, shown)
	}
	l := listed{revision: revision, states: map[string]string{}}
	for i := range list.Items {
		h.saw(&list.Items[i], false)
		l.states[list.Items[i].Name] = list.Items[i].Data["state"]
	}
	for k := range 3 {
		name := fmt.Sprint("k", k)
		h.Record(id, register.Call{Key: name}, from, register.Answer{State: l.states[name]})
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lists = append(h.lists, l)
}

// write creates, replaces or deletes on the condition that the object is as old, and returns what it is then.
func (h *history) write(ctx context.Context, id int, clients *kubernetes.Clientset, name string, old *corev1.ConfigMap, state string, remove bool) *corev1.ConfigMap {
	maps := clients.CoreV1().ConfigMaps(namespace)
	in := register.Call{Key: name, Write: true, State: state}
	next := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"test": ""}}, Data: map[string]string{"state": state}}
	from := h.Now()
	var got *corev1.ConfigMap
	var err error
	switch {
	case old == nil:
		got, err = maps.Create(ctx, next, metav1.CreateOptions{})
	case remove:
		in.Expect, in.State = old.Data["state"], ""
		err = maps.Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &old.UID, ResourceVersion: &old.ResourceVersion}})
	default:
		in.Expect = old.Data["state"]
		next.ResourceVersion, next.UID = old.ResourceVersion, old.UID
		got, err = maps.Update(ctx, next, metav1.UpdateOptions{})
	}
	switch {
	case err == nil:
		if got != nil {
			h.saw(got, false)
		}
		h.Record(id, in, from, register.Answer{})
		return got
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err):
		h.Record(id, in, from, register.Answer{Refused: true, Blind: true})
	case utilnet.IsConnectionRefused(err):
		return old // nobody was there to do it; outcomes that are not known make the search for an order long
	default:
		h.Record(id, in, from, register.Answer{Unknown: true})
	}
	return nil
}

// A watched is what one watch saw.
type watched struct {
	order []int64
	come  atomic.Int64 // the revision up to which all has been seen, or been found gone by a new list
}

// watch follows all changes until ctx ends, going on from where it was whenever the connection breaks.
func (h *history) watch(ctx context.Context, clients *kubernetes.Clientset, to *watched) {
	for to.come.Store(1); ctx.Err() == nil; {
		after := strconv.FormatInt(to.come.Load(), 10)
		w, err := clients.CoreV1().ConfigMaps(namespace).Watch(ctx, metav1.ListOptions{LabelSelector: "test", ResourceVersion: after, AllowWatchBookmarks: true})
		if err != nil {
			if !utilnet.IsConnectionRefused(err) && ctx.Err() == nil {
				h.t.Logf("watch from %s not begun: %v", after, err)
			}
			pause(ctx, 50*time.Millisecond)
			continue
		}
		if err := h.follow(w, to); apierrors.IsResourceExpired(err) {
			h.relist(ctx, clients, to)
		} // else the connection broke
	}
}

// follow takes what a watch delivers until it ends or fails.
func (h *history) follow(w watch.Interface, to *watched) error {
	defer w.Stop()
	for e := range w.ResultChan() {
		cm, ok := e.Object.(*corev1.ConfigMap)
		switch {
		case !ok:
			return apierrors.FromObject(e.Object)
		case e.Type == watch.Bookmark:
			to.come.Store(h.told(cm.ResourceVersion))
		default:
			to.order = append(to.order, h.saw(cm, e.Type == watch.Deleted))
			to.come.Store(to.order[len(to.order)-1])
		}
	}
	return nil
}

// relist finds out from where a watch can go on. What it lists has been seen: no event will tell of it.
func (h *history) relist(ctx context.Context, clients *kubernetes.Clientset, to *watched) {
	list, err := clients.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{LabelSelector: "test"})
	if err != nil {
		return
	}
	revision := h.told(list.ResourceVersion)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gaps = append(h.gaps, gap{to.come.Load(), revision})
	to.come.Store(revision)
}

// unseen says whether some watch missed a part of what happened after a revision and up to another.
func (h *history) unseen(after, upTo int64) bool {
	return slices.ContainsFunc(h.gaps, func(g gap) bool { return g.after < upTo && after < g.upTo })
}

// check looks for an order that explains all answers, and compares watches and lists with what was acknowledged.
func (h *history) check(watches []watched) {
	h.t.Helper()
	h.t.Logf("%d revisions, %d lists, %d gaps", len(h.states), len(h.lists), len(h.gaps))
	h.Check(h.t)
	var all []int64
	for revision := range h.states {
		all = append(all, revision)
	}
	slices.Sort(all)
	for i := range watches {
		order := watches[i].order
		if !slices.IsSorted(order) || len(slices.Compact(slices.Clone(order))) != len(order) {
			h.t.Errorf("watch %d saw revisions out of order or twice: %v", i, order)
		}
		if len(order) == 0 {
			h.t.Errorf("watch %d saw nothing", i)
			continue
		}
		for _, revision := range all {
			if revision <= watches[i].come.Load() && !slices.Contains(order, revision) && !h.unseen(revision-1, revision) {
				h.t.Errorf("watch %d did not see revision %d, %q", i, revision, h.states[revision])
			}
		}
	}
	for _, l := range h.lists {
		want := map[string]string{}
		for _, revision := range all {
			if name, state, _ := strings.Cut(h.states[revision], " "); revision <= l.revision {
				_, listed := l.states[name]
				if want[name] = state; state == "" || !listed && h.unseen(revision, l.revision) {
					delete(want, name) // deleted, perhaps where nobody saw it
				}
			}
		}
		if fmt.Sprint(want) != fmt.Sprint(l.states) {
			h.t.Errorf("a list at %d has %v, want %v", l.revision, l.states, want)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// linearizable drives servers while fault is called again and again.
func linearizable(t *testing.T, servers []*server, fault func(ctx context.Context, round int)) {
	h := &history{History: register.New(), t: t, states: map[int64]string{}}
	var all []*kubernetes.Clientset
	for _, s := range servers {
		all = append(all, s.clients())
	}
	ctx, stop := context.WithTimeout(t.Context(), 25*time.Second)
	defer stop()
	var clients, watchers sync.WaitGroup
	watching, stopWatching := context.WithCancel(t.Context())
	defer stopWatching()
	watches := make([]watched, len(all))
	for i, c := range all {
		watchers.Go(func() { h.watch(watching, c, &watches[i]) })
	}
	for id := range 6 {
		clients.Go(func() { h.client(ctx, id, all[id%len(all)]) })
	}
	for round := 0; ctx.Err() == nil; round++ {
		pause(ctx, time.Second)
		fault(ctx, round)
	}
	clients.Wait()
	for _, s := range servers {
		s.clients() // ready again
	}
	// Every watch must come to the first: by a list, if the last fault made it begin anew and the write was there
	// before. Then nothing disturbs it any more, and it must be told of the second.
	h.comeTo(all[0], watches, "settled")
	end := h.comeTo(all[0], watches, "last")
	stopWatching()
	watchers.Wait()
	for i := range watches {
		if !slices.Contains(watches[i].order, end) {
			t.Errorf("watch %d was not told of revision %d", i, end)
		}
	}
	h.check(watches)
}

// comeTo makes a config map and waits until all watches have come to its revision, which it returns.
func (h *history) comeTo(clients *kubernetes.Clientset, watches []watched, name string) int64 {
	h.t.Helper()
	cm, err := clients.CoreV1().ConfigMaps(namespace).Create(h.t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"test": ""}}}, metav1.CreateOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	revision := h.saw(cm, false)
	deadline := time.Now().Add(20 * time.Second)
	for i := range watches {
		for watches[i].come.Load() < revision {
			if time.Now().After(deadline) {
				h.t.Errorf("watch %d has come to revision %d in time, not to %d, %q", i, watches[i].come.Load(), revision, name)
				break
			}
			pause(h.t.Context(), 50*time.Millisecond)
		}
	}
	return revision
}

// TestLinearizable kills a server with a store of its own again and again.
func TestLinearizable(t *testing.T) {
	s := newServer(t, "s1", "127.0.0.1")
	linearizable(t, []*server{s}, func(context.Context, int) {
		s.kill()
		s.start()
	})
}

// TestLinearizableOnEtcd kills two servers and the three members of their etcd cluster, one at a time.
func TestLinearizableOnEtcd(t *testing.T) {
	cluster := etcdtest.Start(t, 3)
	endpoints := strings.Join(cluster.Endpoints(), ",")
	a := newServer(t, "s1", "127.0.0.1", "--etcd-servers", endpoints)
	a.clients()
	token := run(t, "token", "create", "--server", "--data-dir", a.dir)
	b := newServer(t, "s2", "127.0.0.1", "--etcd-servers", endpoints, "--join", "https://"+a.addr, "--token", strings.TrimSpace(token))
	rnd := rand.New(rand.NewPCG(5, 5))
	linearizable(t, []*server{a, b}, func(ctx context.Context, round int) {
		if round%2 == 0 {
			victim := rnd.IntN(3)
			cluster.Kill(victim)
			pause(ctx, time.Second)
			cluster.Restart(victim)
			return
		}
		victim := []*server{a, b}[rnd.IntN(2)]
		victim.kill()
		victim.start()
	})
}
