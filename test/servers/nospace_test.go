package servers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	clientv3 "go.etcd.io/etcd/client/v3"

	"clipper/store/log/etcd/etcdtest"
)

const noSpace = "etcdserver: mvcc: database space exceeded"

// TestNoSpace fills etcd's database up to its quota. Writes fail with etcd's words, as kube-apiserver's do, what needs no
// space goes on, and the same server writes again once somebody has made room, in the way that etcd's manual says.
func TestNoSpace(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cluster := etcdtest.StartLimited(t, 1, 16<<20)
	clients := newServer(t, "s1", "127.0.0.1", "--etcd-servers", cluster.Endpoints()[0]).clients()
	maps := clients.CoreV1().ConfigMaps("default")
	events, err := maps.Watch(ctx, metav1.ListOptions{LabelSelector: "after=all"})
	if err != nil {
		t.Fatal(err)
	}
	defer events.Stop()

	written, err := fill(ctx, clients)
	status := apierrors.APIStatus(nil)
	if !errors.As(err, &status) || status.Status().Code != http.StatusInternalServerError || status.Status().Message != noSpace || status.Status().Reason != "" {
		t.Fatalf("after %d writes: %#v", written, err)
	}
	err = clients.CoreV1().Namespaces().Delete(ctx, "kube-node-lease", metav1.DeleteOptions{})
	if !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), noSpace) {
		t.Errorf("a namespace's deletion has to be written: %v", err)
	}
	checkReads(ctx, t, clients, written)
	for i := range written {
		if err := maps.Delete(ctx, fmt.Sprint("f", i), metav1.DeleteOptions{}); err != nil {
			t.Fatalf("a deletion needs no space: %v", err)
		}
	}
	reading, stop := context.WithCancel(ctx)
	read := make(chan error, 1)
	go func() { read <- readOn(reading, clients) }()
	makeRoom(ctx, t, cluster)
	stop()
	if err := <-read; err != nil {
		t.Errorf("while etcd was defragmented: %v", err)
	}
	after := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "after", Labels: map[string]string{"after": "all"}}}
	if _, err := maps.Create(ctx, after, metav1.CreateOptions{}); err != nil {
		t.Fatalf("there is room again: %v", err)
	}
	if e := <-events.ResultChan(); e.Type != watch.Added {
		t.Errorf("the watch from before saw %v", e)
	}
}

// fill creates large objects until that fails.
func fill(ctx context.Context, clients kubernetes.Interface) (written int, err error) {
	for {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("f", written)}, Data: map[string]string{"x": strings.Repeat("x", 900_000)}}
		if _, err := clients.CoreV1().ConfigMaps("default").Create(ctx, cm, metav1.CreateOptions{}); err != nil {
			return written, err
		}
		written++
	}
}

// checkReads reads what there is, and how the server is.
func checkReads(ctx context.Context, t *testing.T, clients kubernetes.Interface, want int) {
	t.Helper()
	list, err := clients.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) < want {
		t.Errorf("%d of at least %d: %v", len(list.Items), want, err)
	}
	for _, path := range []string{"/readyz", "/livez", "/healthz", "/readyz/etcd"} {
		if text, err := clients.Discovery().RESTClient().Get().AbsPath(path).DoRaw(ctx); err != nil || string(text) != "ok" {
			t.Errorf("%s: %s %v", path, text, err)
		}
	}
}

// readOn reads until ctx ends.
func readOn(ctx context.Context, clients kubernetes.Interface) error {
	for {
		_, err := clients.CoreV1().Namespaces().Get(ctx, "default", metav1.GetOptions{})
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// makeRoom compacts, defragments and disarms.
func makeRoom(ctx context.Context, t *testing.T, cluster *etcdtest.Cluster) {
	t.Helper()
	etcd := cluster.Client()
	now, err := etcd.Get(ctx, "health")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := etcd.Compact(ctx, now.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	for _, e := range cluster.Endpoints() {
		if _, err := etcd.Defragment(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := etcd.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		t.Fatal(err)
	}
}
