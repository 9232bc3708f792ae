package customresource_test

import (
	"context"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"clipper/apiserver/servertest"
)

// BenchmarkListDefinitions shows what a list of 200 definitions of 43 KB costs in each form, a process's own client
// included.
func BenchmarkListDefinitions(b *testing.B) {
	const many = 200
	s, err := servertest.Start(b.TempDir(), servertest.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Stop()
	config := rest.CopyConfig(s.Config)
	config.QPS, config.DisableCompression = -1, true
	client := clientset.NewForConfigOrDie(config)
	for i := range many {
		if _, err := client.ApiextensionsV1().CustomResourceDefinitions().Create(context.Background(), large(i), metav1.CreateOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	for _, form := range []string{"json", "vnd.kubernetes.protobuf"} {
		b.Run(form, func(b *testing.B) {
			used, size := processorTime(), 0
			for b.Loop() {
				data, err := client.RESTClient().Get().AbsPath("/apis/apiextensions.k8s.io/v1/customresourcedefinitions").
					SetHeader("Accept", "application/"+form).DoRaw(context.Background())
				if err != nil {
					b.Fatal(err)
				}
				size = len(data)
			}
			b.ReportMetric(float64((processorTime()-used).Microseconds())/1000/float64(b.N), "cpu-ms/op")
			b.ReportMetric(float64(size)/(1<<20), "MB")
		})
	}
}
