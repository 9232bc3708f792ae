// Package podrefs lists the objects that a pod's spec names: what a node must be able to read, and follow,
// to run it.
package podrefs

import (
	corev1 "k8s.io/api/core/v1"

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
	for i := range pod.Spec.Volumes {
		c.volume(&pod.Spec.Volumes[i])
	}
	for i := range pod.Spec.InitContainers {
		c.variables(pod.Spec.InitContainers[i].Env, pod.Spec.InitContainers[i].EnvFrom)
	}
	for i := range pod.Spec.Containers {
		c.variables(pod.Spec.Containers[i].Env, pod.Spec.Containers[i].EnvFrom)
	}
	for i := range pod.Spec.EphemeralContainers {
		c.variables(pod.Spec.EphemeralContainers[i].Env, pod.Spec.EphemeralContainers[i].EnvFrom)
	}
	for _, s := range pod.Spec.ImagePullSecrets {
		c.secret(s.Name)
	}
	return c.out
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

func (c *collector) configMap(name string) { c.add(api.ConfigMaps.Resource, name) }
func (c *collector) secret(name string)    { c.add(api.Secrets.Resource, name) }

func (c *collector) volume(v *corev1.Volume) {
	switch {
	case v.ConfigMap != nil:
		c.configMap(v.ConfigMap.Name)
	case v.Secret != nil:
		c.secret(v.Secret.SecretName)
	case v.PersistentVolumeClaim != nil:
		c.add(api.PersistentVolumeClaims.Resource, v.PersistentVolumeClaim.ClaimName)
	case v.Projected != nil:
		for _, s := range v.Projected.Sources {
			if s.ConfigMap != nil {
				c.configMap(s.ConfigMap.Name)
			}
			if s.Secret != nil {
				c.secret(s.Secret.Name)
			}
		}
	}
}

func (c *collector) variables(env []corev1.EnvVar, from []corev1.EnvFromSource) {
	for _, e := range from {
		if e.ConfigMapRef != nil {
			c.configMap(e.ConfigMapRef.Name)
		}
		if e.SecretRef != nil {
			c.secret(e.SecretRef.Name)
		}
	}
	for _, e := range env {
		switch f := e.ValueFrom; {
		case f == nil:
		case f.ConfigMapKeyRef != nil:
			c.configMap(f.ConfigMapKeyRef.Name)
		case f.SecretKeyRef != nil:
			c.secret(f.SecretKeyRef.Name)
		}
	}
}
