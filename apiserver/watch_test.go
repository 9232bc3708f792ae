package apiserver_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"clipper/apiserver/servertest"
)

// events reads n events as "TYPE name value".
func events(t *testing.T, w watch.Interface, n int) []string {
	t.Helper()
	var out []string
	deadline := time.After(10 * time.Second)
	for len(out) < n {
		select {
		case e, ok := <-w.ResultChan():
			if !ok {
				t.Fatalf("watch ended after %q", out)
			}
			switch obj := e.Object.(type) {
			case *corev1.ConfigMap:
				text := fmt.Sprintf("%s %s %s", e.Type, obj.Name, obj.Data["v"])
				if e.Type == watch.Bookmark {
					text = fmt.Sprintf("BOOKMARK %v", obj.Annotations)
				}
				out = append(out, text)
			case *metav1.Status:
				out = append(out, fmt.Sprintf("%s %d %s", e.Type, obj.Code, obj.Reason))
			}
		case <-deadline:
			t.Fatalf("after 10 s only %q", out)
		}
	}
	return out
}

func TestWatch(t *testing.T) {
	o := servertest.Options{}
	o.Store.RingSize = 70 // the store keeps at least 64
	s := start(t, o)
	asJSON, asProto := clients(t, s)
	for name, cs := range map[string]*kubernetes.Clientset{"json": asJSON, "protobuf": asProto} {
		t.Run(name, func(t *testing.T) { watchAll(t, cs, name) })
	}
}

func watchAll(t *testing.T, cs *kubernetes.Clientset, namespace string) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := cs.CoreV1().ConfigMaps(namespace)
	put := func(name, value string, labels map[string]string) *corev1.ConfigMap {
		t.Helper()
		obj := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Data: map[string]string{"v": value}}
		if got, err := c.Create(ctx, obj, metav1.CreateOptions{}); err == nil {
			return got
		}
		return must(c.Update(ctx, obj, metav1.UpdateOptions{}))(t)
	}
	yes := map[string]string{"on": "yes"}
	first := put("a", "1", yes)
	put("b", "1", nil)

	initial := must(c.Watch(ctx, metav1.ListOptions{LabelSelector: "on=yes"}))(t)
	resumed := must(c.Watch(ctx, metav1.ListOptions{ResourceVersion: first.ResourceVersion}))(t)
	put("b", "2", yes) // comes to match
	put("a", "2", nil) // matches no more
	put("c", "1", nil)
	if err := c.Delete(ctx, "b", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	want := []string{"ADDED a 1", "ADDED b 2", "DELETED a 1", "DELETED b 2"}
	if got := events(t, initial, 4); !slices.Equal(got, want) {
		t.Errorf("selected: %q, want %q", got, want)
	}
	want = []string{"ADDED b 1", "MODIFIED b 2", "MODIFIED a 2", "ADDED c 1", "DELETED b 2"}
	if got := events(t, resumed, 5); !slices.Equal(got, want) {
		t.Errorf("resumed: %q, want %q", got, want)
	}

	yesPlease := true
	streamed := must(c.Watch(ctx, metav1.ListOptions{
		SendInitialEvents: &yesPlease, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, AllowWatchBookmarks: true,
	}))(t)
	want = []string{"ADDED a 2", "ADDED c 1", "BOOKMARK map[k8s.io/initial-events-end:true]"}
	if got := events(t, streamed, 3); !slices.Equal(got, want) {
		t.Errorf("watch-list: %q, want %q", got, want)
	}
	named := must(c.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=c"}))(t)
	put("a", "3", nil)
	put("c", "2", nil)
	want = []string{"ADDED c 1", "MODIFIED c 2"}
	if got := events(t, named, 2); !slices.Equal(got, want) {
		t.Errorf("by name: %q, want %q", got, want)
	}
	watchFromFuture(t, cs, namespace)

	for i := range 200 { // the ring forgets
		put("a", fmt.Sprint(i), nil)
	}
	old := must(c.Watch(ctx, metav1.ListOptions{ResourceVersion: first.ResourceVersion}))(t)
	if got := events(t, old, 1); !slices.Equal(got, []string{"ERROR 410 Expired"}) {
		t.Errorf("too old: %q", got)
	}
	seconds := int64(1)
	short := must(c.Watch(ctx, metav1.ListOptions{TimeoutSeconds: &seconds, ResourceVersion: put("a", "x", nil).ResourceVersion}))(t)
	select {
	case _, ok := <-short.ResultChan():
		if ok {
			t.Error("an event out of nowhere")
		}
	case <-time.After(10 * time.Second):
		t.Error("the watch did not end in time")
	}
}

// watchFromFuture: a watch from a revision that has yet to be written waits, and tells of what comes behind it.
func watchFromFuture(t *testing.T, cs *kubernetes.Clientset, namespace string) {
	t.Helper()
	c := cs.CoreV1().ConfigMaps(namespace)
	create := func(name string) int64 {
		t.Helper()
		cm := must(c.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}))(t)
		return must(strconv.ParseInt(cm.ResourceVersion, 10, 64))(t)
	}
	future := create("present") + 5
	w := must(c.Watch(t.Context(), metav1.ListOptions{ResourceVersion: strconv.FormatInt(future, 10)}))(t)
	defer w.Stop()
	var want []string
	for i := range 8 {
		if name := fmt.Sprint("f", i); create(name) > future {
			want = append(want, "ADDED "+name+" ")
		}
	}
	if got := events(t, w, len(want)); !slices.Equal(got, want) {
		t.Errorf("from the future: %q, want %q", got, want)
	}
}

// TestConcurrentPatches: patches without a revision never conflict, whatever happens meanwhile.
func TestConcurrentPatches(t *testing.T) {
	s := start(t, servertest.Options{})
	cs, _ := clients(t, s)
	ctx := context.Background()
	c := cs.CoreV1().ConfigMaps("default")
	must(c.Create(ctx, configMap("x"), metav1.CreateOptions{}))(t)
	const writers, each = 8, 20
	errs := make(chan error, writers)
	for w := range writers {
		go func() {
			var err error
			for i := range each {
				patch := fmt.Sprintf(`{"data":{"k%d-%d":"v"}}`, w, i)
				if _, e := c.Patch(ctx, "x", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); e != nil {
					err = e
				}
			}
			errs <- err
		}()
	}
	for range writers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if got := must(c.Get(ctx, "x", metav1.GetOptions{}))(t); len(got.Data) != 1+writers*each {
		t.Errorf("%d keys, want %d", len(got.Data), 1+writers*each)
	}
	stale := configMap("x")
	stale.ResourceVersion = "1"
	if _, err := c.Update(ctx, stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("stale: %v", err)
	}
}

// TestWatchOverWebSocket: a browser gets a message for each event, as text or binary.
func TestWatchOverWebSocket(t *testing.T) {
	s := start(t, servertest.Options{})
	cs, _ := clients(t, s)
	must(cs.CoreV1().ConfigMaps("default").Create(context.Background(), configMap("a"), metav1.CreateOptions{}))(t)
	for accept, want := range map[string]string{
		jsonT:  `{"type":"ADDED","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"`,
		protoT: "\n\x05ADDED",
	} {
		config, err := websocket.NewConfig(strings.Replace(s.URL, "https", "wss", 1)+cms+"?watch=1&timeoutSeconds=1", "http://localhost")
		if err != nil {
			t.Fatal(err)
		}
		config.TlsConfig = &tls.Config{InsecureSkipVerify: true}
		config.Header.Set("Authorization", "Bearer "+servertest.AdminToken)
		config.Header.Set("Accept", accept)
		socket, err := websocket.DialConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		var first string
		if err := websocket.Message.Receive(socket, &first); err != nil || !strings.HasPrefix(first, want) {
			t.Errorf("%s: %q (%v)", accept, first, err)
		}
		var none string
		if err := websocket.Message.Receive(socket, &none); !errors.Is(err, io.EOF) {
			t.Errorf("%s: at the end %q (%v)", accept, none, err)
		}
		socket.Close()
	}
}
