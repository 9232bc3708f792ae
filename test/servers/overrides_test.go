package servers

import (
	"io"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"clipper/store/log/etcd/etcdtest"
)

// TestOverrides: events have an etcd of their own, and config maps one with them; two servers and a start show the same.
func TestOverrides(t *testing.T) {
	ctx := t.Context()
	main, apart := etcdtest.Start(t, 1), etcdtest.Start(t, 1)
	others := strings.Join(apart.Endpoints(), ";")
	args := []string{"--etcd-servers", strings.Join(main.Endpoints(), ","), "--etcd-servers-overrides", "/events#" + others + ",/configmaps#" + others}
	first := newServer(t, "first", "127.0.0.1", args...)
	c := first.clients()
	event := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "e"}, Reason: "Tested", Type: "Normal",
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "p"}, FirstTimestamp: metav1.Now(), LastTimestamp: metav1.Now()}
	if _, err := c.CoreV1().Events("default").Create(ctx, event, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	made, err := c.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string][2]int64{"/registry/events/default/e": {0, 1}, "/registry/configmaps/default/c": {0, 1}, "/registry/secrets/default/s": {1, 0}} {
		for i, cluster := range []*etcdtest.Cluster{main, apart} {
			res, err := cluster.Client().Get(ctx, key, clientv3.WithCountOnly())
			if err != nil || res.Count != want[i] {
				t.Errorf("%s is %d times in etcd %d, want %d: %v", key, res.Count, i, want[i], err)
			}
		}
	}
	if got, err := c.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx); err != nil || !strings.Contains(string(got), `apiserver_storage_size_bytes{storage_cluster_id="etcd-1"}`) {
		t.Errorf("the size of the second etcd is not told: %v", err)
	}

	second := newServer(t, "second", "127.0.0.1", append(args, "--join", "https://"+first.addr, "--token", strings.TrimSpace(run(t, "token", "create", "--server", "--data-dir", first.dir)))...)
	other := second.clients()
	only := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", "c").String(), ResourceVersion: made.ResourceVersion}
	w, err := other.CoreV1().ConfigMaps("default").Watch(ctx, only)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	changed := made.DeepCopy()
	changed.Data = map[string]string{"a": "b"}
	if changed, err = c.CoreV1().ConfigMaps("default").Update(ctx, changed, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-w.ResultChan():
		if got, ok := e.Object.(*corev1.ConfigMap); !ok || got.ResourceVersion != changed.ResourceVersion {
			t.Errorf("%s %v", e.Type, e.Object)
		}
	case <-time.After(30 * time.Second):
		t.Error("the other server tells of no change")
	}
	if e, err := other.CoreV1().Events("default").Get(ctx, "e", metav1.GetOptions{}); err != nil || e.Reason != "Tested" {
		t.Errorf("%v %v", e, err)
	}
	body, err := other.CoreV1().RESTClient().Get().AbsPath("/readyz").Param("verbose", "").Stream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	for _, check := range []string{"[+]etcd ok", "[+]etcd-override-0 ok", "[+]etcd-override-readiness-0 ok"} {
		if err != nil || !strings.Contains(string(text), check) {
			t.Errorf("%s is missing: %v\n%s", check, err, text)
		}
	}

	first.kill()
	first.start()
	got, err := first.clients().CoreV1().ConfigMaps("default").Get(ctx, "c", metav1.GetOptions{})
	if err != nil || got.Data["a"] != "b" || got.ResourceVersion != changed.ResourceVersion {
		t.Errorf("after a start: %v %v", got, err)
	}
}
