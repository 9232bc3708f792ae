// Package podrefs lists the objects that a pod's spec names: what a node must be able to read, and follow,
// to run it.
package podrefs

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/storage/ephemeral"

	"clipper/api"
)

// A Ref names an object in the pod's namespace.
type Ref struct {
	Resource        api.Resource
	Namespace, Name string
}

// Of returns what the pod refers to, each once: ConfigMaps, Secrets and claims, from volumes, variables and
// pull secrets.
func Of(pod *corev1.Pod) []Ref {
	c := collector{namespace: pod.Namespace, seen: map[Ref]bool{}}
	anyConfigMap(&pod.Spec, c.all(api.ConfigMaps.Resource))
	anySecret(&pod.Spec, c.all(api.Secrets.Resource))
	for i := range pod.Spec.Volumes {
		c.add(api.PersistentVolumeClaims.Resource, ClaimName(pod, &pod.Spec.Volumes[i]))
	}
	return c.out
}

// ClaimName returns the claim that a pod's volume stands for, "" for none. That of a generic ephemeral volume is named
// after both (KEP-1698).
func ClaimName(pod *corev1.Pod, v *corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return ephemeral.VolumeClaimName(pod, v)
	}
	return ""
}

type collector struct {
	namespace string
	seen      map[Ref]bool
	out       []Ref
}

func (c *collector) add(r api.Resource, name string) {
	ref := Ref{r, c.namespace, name}
	if name == "" || c.seen[ref] {
		return
	}
	c.seen[ref] = true
	c.out = append(c.out, ref)
}

// all is a match that takes every name, and never the one looked for.
func (c *collector) all(r api.Resource) match {
	return func(name string) bool {
		c.add(r, name)
		return false
	}
}
