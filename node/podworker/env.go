package podworker

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"

	"clipper/node/downward"
	"clipper/node/podworker/lifecycle"
)

// environment returns a container's variables in order: those of services first, then envFrom, then env,
// later ones prevailing.
func (w *Worker) environment(ctx context.Context, pod *corev1.Pod, c *corev1.Container, ips []netip.Addr) (*variables, error) {
	vars := &variables{value: map[string]string{}}
	for _, from := range c.EnvFrom {
		if err := w.envFrom(ctx, pod, from, vars); err != nil {
			return nil, err
		}
	}
	services := w.serviceVariables(pod)
	for i := range c.Env {
		e := &c.Env[i]
		if e.ValueFrom == nil {
			vars.set(e.Name, Expand(e.Value, func(name string) (string, bool) {
				if v, ok := vars.value[name]; ok {
					return v, true
				}
				v, ok := services.value[name]
				return v, ok
			}))
			continue
		}
		v, ok, err := w.valueFrom(ctx, pod, c, e.ValueFrom, ips)
		if err != nil {
			return nil, err
		}
		if ok {
			vars.set(e.Name, v)
		}
	}
	for _, name := range services.order {
		if _, set := vars.value[name]; !set {
			vars.set(name, services.value[name])
		}
	}
	return vars, nil
}

// variables are environment variables in the order of their first setting.
type variables struct {
	order []string
	value map[string]string
}

func (v *variables) set(name, value string) {
	if _, ok := v.value[name]; !ok {
		v.order = append(v.order, name)
	}
	v.value[name] = value
}

func (v *variables) list() []string {
	out := make([]string, 0, len(v.order))
	for _, n := range v.order {
		out = append(out, n+"="+v.value[n])
	}
	return out
}

func (w *Worker) envFrom(ctx context.Context, pod *corev1.Pod, from corev1.EnvFromSource, vars *variables) error {
	var data map[string]string
	switch {
	case from.ConfigMapRef != nil:
		cm, err := w.cfg.Objects.ConfigMap(ctx, pod.Namespace, from.ConfigMapRef.Name)
		if err != nil {
			if apierrors.IsNotFound(err) && isTrue(from.ConfigMapRef.Optional) {
				return nil
			}
			return objectError("configmap", from.ConfigMapRef.Name, err)
		}
		data = cm.Data
	case from.SecretRef != nil:
		s, err := w.cfg.Objects.Secret(ctx, pod.Namespace, from.SecretRef.Name)
		if err != nil {
			if apierrors.IsNotFound(err) && isTrue(from.SecretRef.Optional) {
				return nil
			}
			return objectError("secret", from.SecretRef.Name, err)
		}
		data = make(map[string]string, len(s.Data))
		for k, v := range s.Data {
			data[k] = string(v)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(data)) {
		if name := from.Prefix + k; len(validation.IsRelaxedEnvVarName(name)) == 0 {
			vars.set(name, data[k])
		}
	}
	return nil
}

func isTrue(b *bool) bool { return b != nil && *b }

// valueFrom resolves one reference. ok is false for an optional one that leads nowhere.
func (w *Worker) valueFrom(ctx context.Context, pod *corev1.Pod, c *corev1.Container, src *corev1.EnvVarSource, ips []netip.Addr) (v string, ok bool, err error) {
	switch {
	case src.FieldRef != nil:
		v, err := w.podField(pod, src.FieldRef.FieldPath, ips)
		return v, err == nil, err
	case src.ResourceFieldRef != nil:
		of := c
		if n := src.ResourceFieldRef.ContainerName; n != "" {
			if of = lifecycle.FindContainer(pod, n); of == nil {
				return "", false, fmt.Errorf("container %q not found in pod %s/%s", n, pod.Namespace, pod.Name)
			}
		}
		v, err := downward.Resource(src.ResourceFieldRef, pod, of, w.cfg.Allocatable())
		return v, err == nil, err
	case src.ConfigMapKeyRef != nil:
		return w.configMapKey(ctx, pod.Namespace, src.ConfigMapKeyRef)
	case src.SecretKeyRef != nil:
		return w.secretKey(ctx, pod.Namespace, src.SecretKeyRef)
	case src.FileKeyRef != nil:
		return w.fileKey(ctx, pod, c, src.FileKeyRef)
	}
	return "", false, nil
}

func (w *Worker) configMapKey(ctx context.Context, namespace string, ref *corev1.ConfigMapKeySelector) (v string, ok bool, err error) {
	cm, err := w.cfg.Objects.ConfigMap(ctx, namespace, ref.Name)
	if err != nil {
		if apierrors.IsNotFound(err) && isTrue(ref.Optional) {
			return "", false, nil
		}
		return "", false, objectError("configmap", ref.Name, err)
	}
	v, ok = cm.Data[ref.Key]
	if !ok && !isTrue(ref.Optional) {
		return "", false, fmt.Errorf("couldn't find key %v in ConfigMap %v/%v", ref.Key, namespace, ref.Name)
	}
	return v, ok, nil
}

func (w *Worker) secretKey(ctx context.Context, namespace string, ref *corev1.SecretKeySelector) (v string, ok bool, err error) {
	s, err := w.cfg.Objects.Secret(ctx, namespace, ref.Name)
	if err != nil {
		if apierrors.IsNotFound(err) && isTrue(ref.Optional) {
			return "", false, nil
		}
		return "", false, objectError("secret", ref.Name, err)
	}
	value, ok := s.Data[ref.Key]
	if !ok && !isTrue(ref.Optional) {
		return "", false, fmt.Errorf("couldn't find key %v in Secret %v/%v", ref.Key, namespace, ref.Name)
	}
	return string(value), ok, nil
}

// podField resolves a downward-API field, also those that only the node knows.
func (w *Worker) podField(pod *corev1.Pod, path string, ips []netip.Addr) (string, error) {
	if pod.Spec.HostNetwork {
		ips = w.cfg.NodeIPs
	}
	switch path {
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return first(w.cfg.NodeIPs), nil
	case "status.hostIPs":
		return join(w.cfg.NodeIPs), nil
	case "status.podIP":
		return first(ips), nil
	case "status.podIPs":
		return join(ips), nil
	}
	return downward.Field(pod, path)
}

func first(ips []netip.Addr) string {
	if len(ips) == 0 {
		return ""
	}
	return ips[0].String()
}

func join(ips []netip.Addr) string {
	s := make([]string, len(ips))
	for i, ip := range ips {
		s[i] = ip.String()
	}
	return strings.Join(s, ",")
}

func (w *Worker) podIP(ips []netip.Addr) string {
	if len(ips) == 0 {
		ips = w.cfg.NodeIPs
	}
	return first(ips)
}

// serviceVariables are the variables of the namespace's services, in the manner of Docker links; those of
// the API server's service come always.
func (w *Worker) serviceVariables(pod *corev1.Pod) *variables {
	vars := &variables{value: map[string]string{}}
	const master = "kubernetes"
	for _, s := range w.cfg.Objects.Services(corev1.NamespaceDefault) {
		if s.Name == master {
			addService(vars, s)
		}
	}
	if pod.Spec.EnableServiceLinks != nil && !*pod.Spec.EnableServiceLinks {
		return vars
	}
	for _, s := range w.cfg.Objects.Services(pod.Namespace) {
		addService(vars, s)
	}
	return vars
}

func addService(vars *variables, s *corev1.Service) {
	ip := s.Spec.ClusterIP
	if ip == "" || ip == corev1.ClusterIPNone || len(s.Spec.Ports) == 0 {
		return
	}
	prefix := envName(s.Name)
	vars.set(prefix+"_SERVICE_HOST", ip)
	vars.set(prefix+"_SERVICE_PORT", strconv.Itoa(int(s.Spec.Ports[0].Port)))
	for _, p := range s.Spec.Ports {
		if p.Name != "" {
			vars.set(prefix+"_SERVICE_PORT_"+envName(p.Name), strconv.Itoa(int(p.Port)))
		}
	}
	for i, p := range s.Spec.Ports {
		proto := "TCP"
		if p.Protocol != "" {
			proto = string(p.Protocol)
		}
		port := strconv.Itoa(int(p.Port))
		url := strings.ToLower(proto) + "://" + net.JoinHostPort(ip, port)
		if i == 0 {
			vars.set(prefix+"_PORT", url)
		}
		link := prefix + "_PORT_" + port + "_" + strings.ToUpper(proto)
		vars.set(link, url)
		vars.set(link+"_PROTO", strings.ToLower(proto))
		vars.set(link+"_PORT", port)
		vars.set(link+"_ADDR", ip)
	}
}

func envName(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "-", "_")) }
