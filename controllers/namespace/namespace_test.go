package namespace

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	metadatafake "k8s.io/client-go/metadata/fake"

	"clipper/api"
	"clipper/api/apitest"
)

func resources() []api.Resource {
	return []api.Resource{api.ConfigMaps.Resource, api.Nodes.Resource, api.Pods.Resource, api.Secrets.Resource}
}

// elsewhere is an extension server of flunders.
type elsewhere struct {
	metadata.Interface
	err error
}

var flunders = schema.GroupVersionResource{Group: "wardle.example.com", Version: "v1alpha1", Resource: "flunders"}

func newElsewhere(objects ...runtime.Object) *elsewhere {
	known := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(known); err != nil {
		panic(err)
	}
	return &elsewhere{Interface: metadatafake.NewSimpleMetadataClient(known, objects...)}
}

func (e *elsewhere) Namespaced() ([]schema.GroupVersionResource, error) {
	if e.err != nil {
		return nil, e.err
	}
	return []schema.GroupVersionResource{flunders}, nil
}

func TestEmptiesExtensionServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flunder := func(namespace string) *metav1.PartialObjectMetadata {
			return &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "wardle.example.com/v1alpha1", Kind: "Flunder"},
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "f"}}
		}
		there := newElsewhere(flunder("ns"), flunder("other"))
		there.err = &discovery.ErrGroupDiscoveryFailed{Groups: map[schema.GroupVersion]error{flunders.GroupVersion(): errors.New("no answer")}}
		c := &apitest.Client{}
		c.Add(api.Namespaces.Resource, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns"},
			Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{"kubernetes"}}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- New(c, resources, there).Run(ctx) }()
		if err := api.Namespaces.Delete(ctx, c, "", "ns", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ns, ok := api.Namespaces.View(c).Get("", "ns")
		const want = "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: wardle.example.com/v1alpha1: no answer"
		if !ok || ns.Status.Conditions[0].Message != want {
			t.Fatalf("while the extension server does not answer: there %v, conditions %+v", ok, ns.Status.Conditions)
		}
		there.err = nil
		time.Sleep(time.Minute)
		synctest.Wait()
		if _, ok := api.Namespaces.View(c).Get("", "ns"); ok {
			t.Error("the namespace is still there")
		}
		list, err := there.Resource(flunders).List(ctx, metav1.ListOptions{})
		if err != nil || len(list.Items) != 1 || list.Items[0].Namespace != "other" {
			t.Errorf("left are %v, error %v", list, err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestEmptiesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &apitest.Client{}
		meta := func(name string, finalizers ...string) metav1.ObjectMeta {
			return metav1.ObjectMeta{Namespace: "ns", Name: name, UID: "u", Finalizers: finalizers}
		}
		c.Add(api.Namespaces.Resource, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns"},
			Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{"kubernetes"}}})
		c.Add(api.Pods.Resource, &corev1.Pod{ObjectMeta: meta("slow", "example.com/wait")}, &corev1.Pod{ObjectMeta: meta("quick")})
		c.Add(api.ConfigMaps.Resource, &corev1.ConfigMap{ObjectMeta: meta("cm")}, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "cm"}})
		c.Add(api.Nodes.Resource, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- New(c, resources, newElsewhere()).Run(ctx) }()
		synctest.Wait()
		if _, ok := api.ConfigMaps.View(c).Get("ns", "cm"); !ok {
			t.Fatal("a namespace that is not being deleted was emptied")
		}
		if err := api.Namespaces.Delete(ctx, c, "", "ns", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, ok := api.ConfigMaps.View(c).Get("ns", "cm"); !ok {
			t.Error("the config map went before the pods")
		}
		ns, _ := api.Namespaces.View(c).Get("", "ns")
		var messages []string
		for _, cond := range ns.Status.Conditions {
			if cond.Status == corev1.ConditionTrue {
				messages = append(messages, string(cond.Type)+": "+cond.Message)
			}
		}
		want := []string{
			"NamespaceContentRemaining: Some resources are remaining: configmaps. has 1 resource instances, pods. has 1 resource instances",
			"NamespaceFinalizersRemaining: Some content in the namespace has finalizers remaining: example.com/wait in 1 resource instances",
		}
		if !slices.Equal(messages, want) {
			t.Errorf("conditions:\n%s", strings.Join(messages, "\n"))
		}
		pod, _ := api.Pods.View(c).Get("ns", "slow")
		free := pod.DeepCopy()
		free.Finalizers = nil
		if _, err := api.Pods.Update(ctx, c, free); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // no time passes: the end of the last pod is noticed at once
		if _, ok := api.Namespaces.View(c).Get("", "ns"); ok {
			t.Error("the namespace is still there")
		}
		if _, ok := api.ConfigMaps.View(c).Get("other", "cm"); !ok {
			t.Error("another namespace was touched")
		}
		if _, ok := api.Nodes.View(c).Get("", "n"); !ok {
			t.Error("a cluster-scoped object was touched")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestConditionsOfFailures(t *testing.T) {
	got := conditions(nil, trouble{content: []error{errors.New("b"), errors.New("a")}}, metav1.Now())
	if got[2].Status != corev1.ConditionTrue || got[2].Message != "Failed to delete all resource types, 2 remaining: a, b" {
		t.Errorf("%+v", got[2])
	}
	if got[3].Message != "All content successfully removed" {
		t.Errorf("%+v", got[3])
	}
}

func TestMergeKeepsTimes(t *testing.T) {
	early, late := metav1.NewTime(time.Unix(1, 0)), metav1.NewTime(time.Unix(2, 0))
	old := conditions(nil, trouble{}, early)
	if _, changed := merge(old, conditions(nil, trouble{}, late)); changed {
		t.Error("the same conditions at another time are a change")
	}
	next, changed := merge(old, conditions(nil, trouble{content: []error{errors.New("x")}}, late))
	if !changed || !next[2].LastTransitionTime.Equal(&late) || !next[3].LastTransitionTime.Equal(&early) {
		t.Errorf("%v %+v", changed, next)
	}
}
