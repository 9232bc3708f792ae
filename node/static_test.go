package node

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
)

// until waits for the API's pods to show something.
func (r *rig) until(what string, ok func() bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = api.Pods.View(r.client).Watch(ctx, func(api.Event) {
		if ok() {
			cancel()
		}
	})
	if !ok() {
		r.t.Fatalf("never: %s", what)
	}
}

func (r *rig) mirror() *corev1.Pod {
	p, _ := api.Pods.View(r.client).Get("kube-system", "proxy-n1")
	return p
}

// A file in the folder is a pod; the API shows it, cannot end it, and forgets it with the file.
func TestStaticPod(t *testing.T) {
	r := newRig(t)
	dir := filepath.Join(r.dir, "manifests")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "proxy.yaml")
	write := func(image string) {
		t.Helper()
		text := "apiVersion: v1\nkind: Pod\nmetadata: {name: proxy, namespace: kube-system}\nspec: {hostNetwork: true, containers: [{name: c, image: '" + image + "'}]}\n"
		if err := os.WriteFile(file+".tmp", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".tmp", file); err != nil {
			t.Fatal(err)
		}
	}
	write("web:1")
	if err := os.WriteFile(filepath.Join(dir, "broken.yaml"), []byte("kind: Nonsense"), 0o644); err != nil {
		t.Fatal(err)
	}
	r.manifests = dir
	defer r.start()()

	r.until("the pod is shown running", func() bool { m := r.mirror(); return m != nil && m.Status.Phase == corev1.PodRunning })
	first := r.mirror()
	if first.Annotations[corev1.MirrorPodAnnotationKey] == "" || first.Spec.RestartPolicy != corev1.RestartPolicyAlways ||
		len(first.OwnerReferences) != 1 || first.OwnerReferences[0].Kind != "Node" {
		t.Errorf("mirror = %+v", first)
	}
	if err := api.Pods.Delete(context.Background(), r.client, "kube-system", "proxy-n1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.until("another mirror is made", func() bool {
		m := r.mirror()
		return m != nil && m.UID != first.UID && m.Status.Phase == corev1.PodRunning
	})
	if got := r.mirror().Status.ContainerStatuses[0].ContainerID; got != first.Status.ContainerStatuses[0].ContainerID {
		t.Errorf("deleting the mirror restarted the pod: %s", got)
	}
	second := r.mirror()
	write("web:1 # changed")
	write("missing:1")
	r.until("the changed file is another pod", func() bool {
		m := r.mirror()
		return m != nil && m.UID != second.UID && m.Spec.Containers[0].Image == "missing:1" &&
			len(m.Status.ContainerStatuses) == 1 && m.Status.ContainerStatuses[0].State.Waiting != nil
	})
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	r.until("the mirror is gone", func() bool { return r.mirror() == nil })
}
