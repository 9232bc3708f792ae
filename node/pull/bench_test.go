package pull

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/node/kubeletconfig"
	"clipper/node/runtime"
)

// BenchmarkPresent is what every start of a container pays: the image is there, imported or pulled by anybody.
func BenchmarkPresent(b *testing.B) {
	images := &registry{present: map[string]runtime.Image{"imported:1": {ID: "sha256:imported"}, "pulled:1": {ID: "sha256:pulled"}}}
	p, err := New(Config{Images: images, Settings: kubeletconfig.Default(), Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	p.history.add("pulled:1", "sha256:pulled", credentialsOf(nil))
	tell := func(string, string, string, ...any) {}
	for _, image := range []string{"imported:1", "pulled:1"} {
		b.Run(image, func(b *testing.B) {
			r := Request{Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}}, Image: image, Policy: corev1.PullIfNotPresent, Tell: tell, TellPod: tell}
			for b.Loop() {
				if f := p.Ensure(b.Context(), r); f != nil {
					b.Fatal(f)
				}
			}
		})
	}
}
