package resourcemetrics

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"clipper/api"
	"clipper/node/nodetest"
)

// A fixture is a cluster of one node and two pods; web uses a quarter of a processor, idle none.
type fixture struct {
	*Collector
	client *nodetest.Client
	reads  atomic.Int64
	began  time.Time
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{client: nodetest.NewClient(), began: time.Now()}
	ctx := context.Background()
	if _, err := api.Nodes.Create(ctx, f.client, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"zone": "a"}}}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"idle", "pending", "web"} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Labels: map[string]string{"app": name}}, Spec: corev1.PodSpec{NodeName: "n1"}}
		p.Status.Phase = corev1.PodRunning
		if name == "pending" {
			p.Status.Phase = corev1.PodPending
		}
		if _, err := api.Pods.Create(ctx, f.client, p); err != nil {
			t.Fatal(err)
		}
	}
	f.Collector = newCollector(f.client, f.fetch)
	return f
}

// fetch answers as a node would at this moment.
func (f *fixture) fetch(context.Context, *corev1.Node) (*reading, error) {
	f.reads.Add(1)
	now := time.Now()
	spent := now.Sub(f.began).Seconds()
	return parse(strings.NewReader(fmt.Sprintf(`
# TYPE node_cpu_usage_seconds_total counter
node_cpu_usage_seconds_total %[1]v %[3]d
# TYPE node_memory_working_set_bytes gauge
node_memory_working_set_bytes 2.097152e+06 %[3]d
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container="c",namespace="ns",pod="web"} %[2]v %[3]d
container_cpu_usage_seconds_total{container="c",namespace="ns",pod="idle"} 7 %[3]d
# TYPE container_memory_working_set_bytes gauge
container_memory_working_set_bytes{container="c",namespace="ns",pod="web"} 1.048576e+06 %[3]d
container_memory_working_set_bytes{container="c",namespace="ns",pod="idle"} 1024 %[3]d
# TYPE container_start_time_seconds gauge
container_start_time_seconds{container="c",namespace="ns",pod="web"} 1
`, 100+spent/2, 10+spent/4, now.UnixMilli())), now)
}

// The first question waits a second for two readings; then nodes are read every 15 seconds, until a minute has passed
// without a question.
func TestCollectsWhileAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- f.Run(ctx) }()
		time.Sleep(time.Hour)
		if n := f.reads.Load(); n != 0 {
			t.Errorf("read %d times before anybody asked", n)
		}
		asked := time.Now()
		pods, err := f.Pods(ctx, "", Everything())
		if err != nil || time.Since(asked) != quick || len(pods) != 2 {
			t.Fatalf("after %v: %v, %v", time.Since(asked), pods, err)
		}
		web := pods[1]
		if web.Name != "web" || web.Window.Duration != time.Second || web.Labels["app"] != "web" || web.Containers[0].Usage.Cpu().MilliValue() != 250 || web.Containers[0].Usage.Memory().String() != "1Mi" {
			t.Errorf("web is told as %+v", web)
		}
		if idle := pods[0].Containers[0].Usage; !idle.Cpu().IsZero() || idle.Memory().Value() != 1024 {
			t.Errorf("idle is told as %v", idle)
		}
		node, err := f.Node(ctx, "n1")
		if err != nil || node.Usage.Cpu().MilliValue() != 500 || node.Usage.Memory().String() != "2Mi" {
			t.Errorf("the node is told as %+v, %v", node, err)
		}
		time.Sleep(20 * time.Second)
		if web, err := f.Pod(ctx, "ns", "web"); err != nil || web.Window.Duration != resolution {
			t.Errorf("later: %+v, %v", web, err)
		}
		time.Sleep(time.Hour)
		if n := f.reads.Load(); n < 6 || n > 8 {
			t.Errorf("read %d times", n)
		}
		cancel()
		<-done
	})
}

// A node that does not answer does not keep the others' metrics back.
func TestDeadNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := api.Nodes.Create(ctx, f.client, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "dead"}}); err != nil {
			t.Fatal(err)
		}
		f.Collector.fetch = func(ctx context.Context, n *corev1.Node) (*reading, error) {
			if n.Name == "dead" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return f.fetch(ctx, n)
		}
		done := make(chan error)
		go func() { done <- f.Run(ctx) }()
		nodes, err := f.Nodes(ctx, Everything())
		if err != nil || len(nodes) != 1 || nodes[0].Name != "n1" {
			t.Errorf("%v, %v", nodes, err)
		}
		cancel()
		<-done
	})
}

func TestHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- f.Run(ctx) }()
		h := newHandler(f.Collector)
		for _, tt := range []struct {
			path, accept string
			code         int
			want         []string
		}{
			{"", "", 200, []string{`"kind":"APIResourceList","apiVersion":"v1","groupVersion":"metrics.k8s.io/v1beta1"`, `"name":"pods","singularName":"pod","namespaced":true,"kind":"PodMetrics","verbs":["get","list"]`}},
			{"/nodes", "", 200, []string{`"kind":"NodeMetricsList","apiVersion":"metrics.k8s.io/v1beta1"`, `"cpu":"500m"`}},
			{"/nodes?labelSelector=zone%3Db", "", 200, []string{`"items":[]`}},
			{"/nodes/n1", "", 200, []string{`"kind":"NodeMetrics"`, `"window":"1s"`}},
			{"/nodes/n2", "", 404, []string{`"message":"nodes \"n2\" not found"`}},
			{"/pods", "", 200, []string{`"name":"idle"`, `"name":"web"`}},
			{"/pods?fieldSelector=metadata.name%3Dweb", "", 200, []string{`"items":[{"metadata":{"name":"web"`}},
			{"/namespaces/other/pods", "", 200, []string{`"items":[]`}},
			{"/namespaces/ns/pods/pending", "", 404, []string{`"message":"podmetrics.metrics.k8s.io \"ns/pending\" not found"`}},
			{"/namespaces/ns/pods?labelSelector=app%3D%3D%3Dx", "", 400, []string{`unable to parse requirement`}},
			{"/pods", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json", 200, []string{`"kind":"Table","apiVersion":"meta.k8s.io/v1"`, `"name":"cpu"`, `"cells":["web","250m","1Mi","1s"]`}},
			{"/pods", "application/vnd.kubernetes.protobuf", 200, []string{"k8s\x00", "PodMetricsList"}},
			{"/pods", "application/yaml", 200, []string{"kind: PodMetricsList"}},
			{"/pods", "image/png", 406, []string{"only the following media types are accepted"}},
			{"/elsewhere", "", 404, nil},
		} {
			r := httptest.NewRequest(http.MethodGet, root+tt.path, nil).WithContext(ctx)
			if tt.accept != "" {
				r.Header.Set("Accept", tt.accept)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.code {
				t.Errorf("%s: %d %s", tt.path, w.Code, w.Body)
			}
			for _, want := range tt.want {
				if !strings.Contains(w.Body.String(), want) {
					t.Errorf("%s (%s): no %s in %s", tt.path, tt.accept, want, w.Body)
				}
			}
		}
		cancel()
		<-done
	})
}

func TestSince(t *testing.T) {
	at := func(s float64) time.Time { return time.Unix(1000, 0).Add(time.Duration(s * float64(time.Second))) }
	full := func(cpu, when float64) usage {
		return usage{at: at(when), cpu: cpu, memory: 1, hasCPU: true, hasMemory: true}
	}
	begun := func(u usage, when float64) usage { u.started = at(when); return u }
	for name, tt := range map[string]struct {
		now, before usage
		known       bool
		milli       int64 // -1: not known
	}{
		"steady":                     {full(15, 10), full(10, 0), true, 500},
		"new":                        {begun(full(1, 10), 8), usage{}, false, 500},
		"new, age not known":         {full(1, 10), usage{}, false, -1},
		"restarted":                  {begun(full(1, 10), 8), full(100, 0), true, 500},
		"restarted, used more since": {begun(full(101, 110), 10), full(100, 0), true, 1010},
		"too short":                  {full(15, 10), full(10, 9.9), true, -1},
		"time runs backwards":        {full(15, 10), full(10, 20), true, -1},
		"no memory":                  {usage{at: at(10), cpu: 1, hasCPU: true}, full(0, 0), true, -1},
	} {
		use, _, ok := tt.now.since(tt.before, tt.known)
		if got := use.Cpu().MilliValue(); ok != (tt.milli >= 0) || ok && got != tt.milli {
			t.Errorf("%s: %d, %v", name, got, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("node_cpu_usage_seconds_total 1 1700000000000\ncontainer_cpu_usage_seconds_total{container=\"c\",namespace=\"ns\",pod=\"p\"} NaN\n")
	f.Add("container_start_time_seconds{pod=\"p\"} -1e300\nnode_memory_working_set_bytes +Inf\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parse(strings.NewReader(text), time.Unix(1, 0))
		if err != nil {
			return
		}
		for _, containers := range r.pods {
			for _, u := range containers {
				if use, _, ok := u.since(usage{}, false); ok {
					if _, err := json.Marshal(use); err != nil || use.Cpu().Sign() < 0 || use.Memory().Sign() < 0 {
						t.Errorf("%q is told as %v, %v", text, use, err)
					}
				}
			}
		}
		m, _ := nodeMetrics(&corev1.Node{}, pair{r, r})
		write(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, root+"/nodes", nil), runtime.Object(&metricsv1beta1.NodeMetricsList{Items: []metricsv1beta1.NodeMetrics{m}}))
	})
}
