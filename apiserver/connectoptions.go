package apiserver

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"clipper/api"
)

// connectOptions reads what a stream asks for, PodExecOptions and the like, so that admission can judge
// it; nil if there is nothing to ask for.
func (q *request) connectOptions() api.Object {
	v := q.query()
	yes := func(name string) bool { return v.Get(name) == "true" || v.Get(name) == "1" }
	meta := func(kind string) metav1.TypeMeta { return metav1.TypeMeta{APIVersion: "v1", Kind: kind} }
	switch q.info.Subresource {
	case "exec":
		return &execOptions{PodExecOptions: corev1.PodExecOptions{TypeMeta: meta("PodExecOptions"), Container: v.Get("container"),
			Command: v["command"], Stdin: yes("stdin"), Stdout: yes("stdout"), Stderr: yes("stderr"), TTY: yes("tty")}}
	case "attach":
		return &attachOptions{PodAttachOptions: corev1.PodAttachOptions{TypeMeta: meta("PodAttachOptions"), Container: v.Get("container"),
			Stdin: yes("stdin"), Stdout: yes("stdout"), Stderr: yes("stderr"), TTY: yes("tty")}}
	}
	return nil
}

// Options have no metadata; these lend them an empty one, for admission takes objects only. It is not
// part of their JSON.
type (
	noMeta = metav1.ObjectMeta

	execOptions struct {
		corev1.PodExecOptions
		noMeta `json:"-"`
	}
	attachOptions struct {
		corev1.PodAttachOptions
		noMeta `json:"-"`
	}
)

func (o *execOptions) DeepCopyObject() runtime.Object {
	return &execOptions{PodExecOptions: *o.PodExecOptions.DeepCopy()}
}

func (o *attachOptions) DeepCopyObject() runtime.Object {
	return &attachOptions{PodAttachOptions: *o.PodAttachOptions.DeepCopy()}
}
