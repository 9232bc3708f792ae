package servers

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"clipper/store/log/etcd/etcdtest"
)

// stored is what a server shows of some resources, by name, with resourceVersions.
func stored(t *testing.T, c *kubernetes.Clientset) (objects map[string]string, revision int64) {
	t.Helper()
	objects = map[string]string{}
	configs, err := c.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := c.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range configs.Items {
		objects["configmap "+o.Name] = fmt.Sprint(o.ResourceVersion, o.UID, o.Data)
	}
	for _, o := range secrets.Items {
		objects["secret "+o.Name] = fmt.Sprint(o.ResourceVersion, o.UID, o.Data)
	}
	if _, err := fmt.Sscan(secrets.ResourceVersion, &revision); err != nil {
		t.Fatal(err)
	}
	return objects, revision
}

// restart ends a server without warning, and starts it with other arguments.
func (s *server) restart(args ...string) *kubernetes.Clientset {
	s.t.Helper()
	s.kill()
	s.args = args
	s.start()
	return s.clients()
}

// same checks that a server shows what was there before, at a revision that is not older.
func same(t *testing.T, when string, c *kubernetes.Clientset, want map[string]string, atLeast int64) int64 {
	t.Helper()
	got, revision := stored(t, c)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: there is %v, want %v", when, got, want)
	}
	if revision < atLeast {
		t.Errorf("%s: the revision is %d, it was %d", when, revision, atLeast)
	}
	return revision
}

// TestGrowAndShrink takes what a server has stored alone into an etcd cluster that others then join, and back.
func TestGrowAndShrink(t *testing.T) {
	host := func(n int) string { return fmt.Sprintf("127.%d.%d.%d", 20+rand.IntN(200), rand.IntN(250), n) }
	s := newServer(t, "s1", host(1))
	c := s.clients()
	for i := range 20 {
		write(t, c, fmt.Sprint("cm-", i))
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "token"}, Data: map[string][]byte{"t": []byte("hush")}}
	if _, err := c.CoreV1().Secrets("default").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	want, before := stored(t, c)

	c = s.restart("--cluster-init")
	revision := same(t, "as the first member", c, want, before)
	expired(t, c, before-5)
	token := strings.TrimSpace(run(t, "token", "create", "--server", "--data-dir", s.dir))
	second := newServer(t, "s2", host(2), "--join", "https://"+s.addr, "--token", token)
	revision = same(t, "at the server that joined", second.clients(), want, revision)
	write(t, second.clients(), "together")
	if left, err := filepath.Glob(filepath.Join(s.dir, "store.until-*")); err != nil || len(left) != 1 {
		t.Errorf("the old store is %v, %v", left, err)
	}

	alone := newServer(t, "s3", host(3))
	ac := alone.clients()
	write(t, ac, "small")
	want, before = stored(t, ac)
	ac = alone.restart("--cluster-init")
	before = same(t, "grown", ac, want, before)
	write(t, ac, "grown")
	want, before = stored(t, ac)
	ac = alone.restart("--cluster-end")
	before = same(t, "shrunk", ac, want, before)
	write(t, ac, "shrunk")
	want, before = stored(t, ac)
	same(t, "shrunk and started again", alone.restart("--cluster-end"), want, before)
}

// TestConversionKilled kills a server again and again while it converts its store, and finds everything in the end.
func TestConversionKilled(t *testing.T) {
	s := newServer(t, "s1", fmt.Sprintf("127.%d.%d.1", 20+rand.IntN(200), rand.IntN(250)))
	c := s.clients()
	for i := range 10 {
		write(t, c, fmt.Sprint("cm-", i))
	}
	want, revision := stored(t, c)
	for round, args := range [][]string{{"--cluster-init"}, {"--cluster-end"}, {"--cluster-init"}} {
		s.kill()
		s.args = args
		for n := range 8 {
			s.start()
			time.Sleep(time.Duration(150*n+rand.IntN(150)) * time.Millisecond) // a kill at any point: there is no wrong one
			s.kill()
		}
		s.start()
		revision = same(t, fmt.Sprint("round ", round), s.clients(), want, revision)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "datastore-conversion")); !os.IsNotExist(err) {
		t.Errorf("a conversion is still under way: %v", err)
	}
}

// plain is what is stored, without resourceVersions.
func plain(t *testing.T, c *kubernetes.Clientset) (objects map[string]string, revision int64) {
	t.Helper()
	with, revision := stored(t, c)
	objects = map[string]string{}
	for name, text := range with {
		_, objects[name], _ = strings.Cut(text, " ")
	}
	return objects, revision
}

// TestToExternalEtcd takes what a server has stored alone to an etcd cluster, killing the server again and again, and
// back. Not twice: etcd holds a state then.
func TestToExternalEtcd(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	servers := "--etcd-servers=" + strings.Join(cluster.Endpoints(), ",")
	s := newServer(t, "s1", fmt.Sprintf("127.%d.%d.1", 20+rand.IntN(200), rand.IntN(250)))
	c := s.clients()
	for i := range 300 {
		write(t, c, fmt.Sprint("cm-", i))
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "token"}, Data: map[string][]byte{"t": []byte("hush")}}
	if _, err := c.CoreV1().Secrets("default").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	want, before := plain(t, c)

	s.kill()
	s.args = []string{servers}
	for n := range 5 {
		s.start()
		time.Sleep(time.Duration(200*n+rand.IntN(300)) * time.Millisecond) // a kill at any point: there is no wrong one
		s.kill()
	}
	s.start()
	c = s.clients()
	got, revision := plain(t, c)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("in etcd: there is %v, want %v", got, want)
	}
	first, err := c.CoreV1().ConfigMaps("default").Get(t.Context(), "cm-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var lowest int64
	if _, err := fmt.Sscan(first.ResourceVersion, &lowest); err != nil || lowest <= before {
		t.Errorf("in etcd, an object is at revision %s, the state was at %d", first.ResourceVersion, before)
	}
	expired(t, c, before)
	write(t, c, "in-etcd")

	want2, revision := stored(t, c)
	c = s.restart("--cluster-end", servers)
	revision = same(t, "back", c, want2, revision)
	write(t, c, "alone-again")
	want2, revision = stored(t, c)
	same(t, "back and started again", s.restart("--cluster-end", servers), want2, revision)

	s.kill()
	out, err := command("server", "--disable-agent", "--data-dir", s.dir, "--listen", s.addr, "--node-ip", s.host, "--node-name", s.name, servers).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "etcdctl del --prefix /registry/") {
		t.Errorf("a second time: %v, it said %s", err, out)
	}
	same(t, "after the refusal", s.restart(), want2, revision)
}

// expired checks that a watch cannot begin at a revision from before a conversion.
func expired(t *testing.T, c *kubernetes.Clientset, revision int64) {
	t.Helper()
	w, err := c.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{ResourceVersion: fmt.Sprint(revision), TimeoutSeconds: new(int64(5))})
	if err == nil {
		e := <-w.ResultChan()
		w.Stop()
		err = apierrors.FromObject(e.Object)
	}
	if !apierrors.IsResourceExpired(err) {
		t.Errorf("a watch from before: %v", err)
	}
}
