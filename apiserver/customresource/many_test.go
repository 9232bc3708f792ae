package customresource_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// TestWatchEndsWithDefinition: a watch ends when its kind gets another schema, and when it goes.
func TestWatchEndsWithDefinition(t *testing.T) {
	f := setUp(t)
	ctx := context.Background()
	crds := f.crds.ApiextensionsV1().CustomResourceDefinitions()
	for _, step := range []struct {
		what   string
		change func() error
	}{
		{"another schema", func() error {
			_, err := crds.Patch(ctx, "crontabs.stable.example.com", types.JSONPatchType,
				[]byte(`[{"op":"add","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/more","value":{"type":"string"}}]`), metav1.PatchOptions{})
			return err
		}},
		{"deletion", func() error { return crds.Delete(ctx, "crontabs.stable.example.com", metav1.DeleteOptions{}) }},
	} {
		w, err := f.v1.Watch(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := step.change(); err != nil {
			t.Fatal(err)
		}
		select {
		case e, open := <-w.ResultChan():
			if open {
				t.Errorf("%s: event %v", step.what, e)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: the watch goes on", step.what)
		}
		w.Stop()
	}
}

// TestManyDefinitions: what a large set of operators brings is served soon, and a clean-up that cannot end
// holds nobody up.
func TestManyDefinitions(t *testing.T) {
	f := setUp(t)
	ctx := context.Background()
	crds := f.crds.ApiextensionsV1().CustomResourceDefinitions()
	stuck := cronTab("stuck", `{"cronSpec":"* *"}`)
	stuck.SetFinalizers([]string{"example.com/never"})
	if _, err := f.v1.Create(ctx, stuck, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := crds.Delete(ctx, "crontabs.stable.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	const many = 100
	start := time.Now()
	for i := range many {
		d := &apiextensionsv1.CustomResourceDefinition{}
		text := strings.NewReplacer("crontabs", fmt.Sprintf("k%ds", i), `"crontab"`, fmt.Sprintf(`"k%d"`, i), "CronTab", fmt.Sprintf("K%d", i), `"ct"`, fmt.Sprintf(`"k%dx"`, i)).Replace(definition)
		if err := json.Unmarshal([]byte(text), d); err != nil {
			t.Fatal(err)
		}
		if _, err := crds.Create(ctx, d, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	last := dynamic.NewForConfigOrDie(f.s.Config).Resource(schema.GroupVersionResource{Group: "stable.example.com", Version: "v1", Resource: fmt.Sprintf("k%ds", many-1)})
	f.until("the last kind is served", func() bool {
		_, err := last.List(ctx, metav1.ListOptions{})
		return err == nil
	})
	t.Logf("%d definitions served within %v", many, time.Since(start))
	_, err := f.v1.Create(ctx, cronTab("late", `{"cronSpec":"* *"}`), metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), "create not allowed while custom resource definition is terminating") {
		t.Errorf("a new object of a kind that is going: %v", err)
	}
	if _, err := f.v1.Patch(ctx, "stuck", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	f.until("the definition is gone", func() bool {
		_, err := crds.Get(ctx, "crontabs.stable.example.com", metav1.GetOptions{})
		return err != nil
	})
}
