package all_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"clipper/api"
	"clipper/apiserver/apiservertest"
)

// BenchmarkCreate writes config maps through admission and the pipeline, without HTTP and disk.
func BenchmarkCreate(b *testing.B) {
	s := apiservertest.Start(b)
	var n atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("cm-%d", n.Add(1))}}
			if _, err := api.ConfigMaps.Create(b.Context(), s.Client, cm); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkGetOverHTTPS reads with a bearer token: authentication and authorization on every request.
func BenchmarkGetOverHTTPS(b *testing.B) {
	s := apiservertest.Start(b)
	cfg := s.Admin(b)
	cfg.QPS = -1
	cfg.ContentType = "application/vnd.kubernetes.protobuf"
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.CoreV1().ConfigMaps("kube-public").Get(b.Context(), "cluster-info", metav1.GetOptions{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
