package customresource_test

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"clipper/apiserver/servertest"
)

// large is a definition of 43 KB, as generated from Go types with their comments: lists of objects in objects.
func large(i int) *apiextensionsv1.CustomResourceDefinition {
	text := func(n int) apiextensionsv1.JSONSchemaProps {
		return apiextensionsv1.JSONSchemaProps{Type: "string", Description: fmt.Sprintf("Field %d of kind %d %s", n, i, strings.Repeat("says what it is for. ", 5))}
	}
	groups := map[string]apiextensionsv1.JSONSchemaProps{}
	for g := range 12 {
		item := apiextensionsv1.JSONSchemaProps{Type: "object", Required: []string{"name"}, Properties: map[string]apiextensionsv1.JSONSchemaProps{}}
		for n := range 20 {
			item.Properties[fmt.Sprintf("field%d", n)] = text(n)
		}
		length := int64(63)
		item.Properties["name"] = apiextensionsv1.JSONSchemaProps{Type: "string", MaxLength: &length}
		item.XValidations = apiextensionsv1.ValidationRules{{Rule: "self.name != 'x' || has(self.field1)", Message: "x needs a first field"}}
		most := int64(32)
		groups[fmt.Sprintf("group%d", g)] = apiextensionsv1.JSONSchemaProps{Type: "array", MaxItems: &most, Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &item}}
	}
	name := fmt.Sprintf("thing%d", i)
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: name + "s.large.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "large.example.com", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: name + "s", Singular: name, Kind: "T" + name, ListKind: "T" + name + "List"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true, Schema: &apiextensionsv1.CustomResourceValidation{
				OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"spec": {Type: "object", Properties: groups}}},
			}}},
		},
	}
}

// BenchmarkLargeDefinitions shows what definitions cost: processor time to create one, heap that stays for each byte of
// its JSON form, and the time until all are in the documents that clients read.
func BenchmarkLargeDefinitions(b *testing.B) {
	const many = 200
	for b.Loop() {
		s, err := servertest.Start(b.TempDir(), servertest.Options{})
		if err != nil {
			b.Fatal(err)
		}
		config := rest.CopyConfig(s.Config)
		config.QPS = -1
		client := clientset.NewForConfigOrDie(config)
		size, heap, used := 0, live(), processorTime()
		for i := range many {
			text, err := json.Marshal(large(i))
			if err != nil {
				b.Fatal(err)
			}
			size += len(text)
			if err := client.RESTClient().Post().AbsPath("/apis/apiextensions.k8s.io/v1/customresourcedefinitions").Body(text).Do(context.Background()).Error(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(size)/many/1024, "KiB/definition")
		b.ReportMetric(float64((processorTime()-used).Microseconds())/1000/many, "cpu-ms/definition")
		published(b, client, "/apis/large.example.com/v1", many, "s-to-discovery")
		b.ReportMetric(float64(live()-heap)/float64(size), "heap-B/B")
		published(b, client, "/openapi/v3/apis/large.example.com/v1", many, "s-to-openapi3")
		published(b, client, "/openapi/v2", many, "s-to-openapi2")
		if err := s.Stop(); err != nil {
			b.Fatal(err)
		}
	}
}

// published waits until a document names all kinds.
func published(b *testing.B, client *clientset.Clientset, path string, many int, unit string) {
	start := time.Now()
	for time.Since(start) < time.Minute {
		text, err := client.RESTClient().Get().AbsPath(path).DoRaw(context.Background())
		if err == nil && strings.Contains(string(text), fmt.Sprintf(`"Tthing%d"`, many-1)) {
			b.ReportMetric(time.Since(start).Seconds(), unit)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.Fatalf("%s does not name all kinds", path)
}

func live() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what the first one has finalized
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// processorTime is what this process has used so far, the client included.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestLargeDefinitionsAreWhole: what is packed in memory is never seen so.
func TestLargeDefinitionsAreWhole(t *testing.T) {
	f := setUp(t)
	ctx := context.Background()
	crds := f.crds.ApiextensionsV1().CustomResourceDefinitions()
	wanted := large(7)
	check := func(how string, d *apiextensionsv1.CustomResourceDefinition, err error) {
		t.Helper()
		switch {
		case err != nil:
			t.Fatalf("%s: %v", how, err)
		case !equality.Semantic.DeepEqual(d.Spec.Versions[0].Schema, wanted.Spec.Versions[0].Schema):
			t.Errorf("%s: the schema is %.300v", how, d.Spec.Versions[0].Schema)
		case d.Generation != 1:
			t.Errorf("%s: generation %d", how, d.Generation)
		}
	}
	w, err := crds.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + wanted.Name})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	d, err := crds.Create(ctx, wanted, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	check("dry run", d, err)
	d, err = crds.Create(ctx, wanted, metav1.CreateOptions{})
	check("create", d, err)
	check("event", (<-w.ResultChan()).Object.(*apiextensionsv1.CustomResourceDefinition), nil)
	f.until("established", func() bool {
		d, err = crds.Get(ctx, wanted.Name, metav1.GetOptions{})
		return err == nil && apihelpers.IsCRDConditionTrue(d, apiextensionsv1.Established)
	})
	check("get", d, err)
	list, err := crds.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + wanted.Name})
	if err != nil || len(list.Items) != 1 {
		t.Fatal(list, err)
	}
	check("list", &list.Items[0], nil)
	d, err = crds.Update(ctx, d, metav1.UpdateOptions{})
	check("update without a change", d, err)
	d, err = crds.UpdateStatus(ctx, d, metav1.UpdateOptions{})
	check("status", d, err)
	for _, pt := range []types.PatchType{types.MergePatchType, types.StrategicMergePatchType} {
		d, err = crds.Patch(ctx, wanted.Name, pt, []byte(`{"metadata":{"labels":{"by":"`+string(pt[len("application/"):len("application/")+5])+`"}}}`), metav1.PatchOptions{})
		check(string(pt), d, err)
	}
	var owners []string
	for _, m := range d.ManagedFields {
		if strings.Contains(string(m.FieldsV1.Raw), `"f:versions"`) {
			owners = append(owners, m.Manager)
		}
	}
	if len(owners) != 1 {
		t.Errorf("the schema's owners: %v", owners)
	}
	d.Spec.Versions[0].Schema.OpenAPIV3Schema.Description = "more"
	if d, err = crds.Update(ctx, d, metav1.UpdateOptions{}); err != nil || d.Generation != 2 || d.Spec.Versions[0].Schema.OpenAPIV3Schema.Description != "more" {
		t.Errorf("update: generation %d, %v", d.Generation, err)
	}
}
