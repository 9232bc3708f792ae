package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// TestMetrics compares what a server shows after some work of every sort with testdata/metrics: the STABLE and BETA
// metrics of kube-apiserver, kube-controller-manager and kube-scheduler, but for those that take a webhook, an overload,
// a configuration file that changes, or a job that ends on a node; and ALPHA ones about requests and watches.
func TestMetrics(t *testing.T) {
	s := newServer(t, "s1", "127.0.0.1")
	c := s.clients()
	work(t, c)
	text, err := os.ReadFile("testdata/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, err := c.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for want := range strings.Lines(string(text)) {
		want = strings.TrimSpace(want)
		name, _, _ := strings.Cut(want, " ")
		if f := families[name]; f == nil {
			t.Errorf("%s is not there", name)
		} else if got := described(f, strings.Contains(want, "buckets=")); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// described is a family in the form of testdata/metrics.
func described(f *dto.MetricFamily, buckets bool) string {
	var labels []string
	for _, l := range f.Metric[0].Label {
		labels = append(labels, l.GetName())
	}
	slices.Sort(labels)
	out := fmt.Sprintf("%s %s {%s}", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, ","))
	if h := f.Metric[0].Histogram; h != nil && buckets {
		out += fmt.Sprintf(" buckets=%d", len(h.Bucket)-1) // one is +Inf
	}
	return out
}

// work makes the server do something of every sort that is counted.
func work(t *testing.T, c *kubernetes.Clientset) {
	t.Helper()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, create := t.Context(), metav1.CreateOptions{}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	must(c.CoreV1().Nodes().Create(ctx, node, create))
	must(c.BatchV1().CronJobs("default").Create(ctx, &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Spec: batchv1.CronJobSpec{
		Schedule: "0 0 1 1 *", JobTemplate: batchv1.JobTemplateSpec{Spec: job()}}}, create))
	must(c.BatchV1().Jobs("default").Create(ctx, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "j"}, Spec: job()}, create))
	must(c.AdmissionregistrationV1().ValidatingAdmissionPolicies().Create(ctx, &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
				Operations: []admissionv1.OperationType{"CREATE"}, Rule: admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}}}}}},
			Validations: []admissionv1.Validation{{Expression: "object.metadata.name != 'bad'"}},
		}}, create))
	must(c.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Create(ctx, &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: "p", ValidationActions: []admissionv1.ValidationAction{"Deny"}}}, create))
	retry(t, "be refused by the policy", refused(c))
	_, err := c.CoreV1().Endpoints("default").List(ctx, metav1.ListOptions{})
	must(nil, err)
	yes, second := true, int64(1)
	w, err := c.CoreV1().Pods("").Watch(ctx, metav1.ListOptions{SendInitialEvents: &yes, AllowWatchBookmarks: true, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, TimeoutSeconds: &second})
	must(nil, err)
	for range w.ResultChan() {
	}
	node.Status = corev1.NodeStatus{Allocatable: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("10")},
		Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now()}}}
	must(c.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{}))
	retry(t, "have a pod scheduled", scheduled(c))
}

func job() batchv1.JobSpec {
	return batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "x"}}}}}
}

// refused creates what the policy forbids.
func refused(c *kubernetes.Clientset) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := c.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "bad"}}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) {
			return nil
		}
		return fmt.Errorf("the policy does not work yet: %v", err)
	}
}

func scheduled(c *kubernetes.Clientset) func(context.Context) error {
	return func(ctx context.Context) error {
		pods, err := c.CoreV1().Pods("default").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=n1"})
		if err == nil && len(pods.Items) == 0 {
			err = errors.New("it has no node")
		}
		return err
	}
}
