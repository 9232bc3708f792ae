// Package environment makes the variables of containers: those of services, those that a container takes from config
// maps, secrets, files and its pod itself, and references to variables wherever Kubernetes replaces them.
package environment

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
	"k8s.io/utils/ptr"

	"clipper/api/containers"
	"clipper/node/downward"
)

// Objects reads what pods refer to. Errors are upstream's API errors.
type Objects interface {
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	Services(namespace string) []*corev1.Service
}

// Volumes tells where a volume of a pod is on the host.
type Volumes interface {
	Path(ctx context.Context, pod *corev1.Pod, container string, m *corev1.VolumeMount, subPath string) (string, error)
}

// A Node is where variables come from. All fields are required.
type Node struct {
	Objects Objects
	Volumes Volumes
	IPs     []netip.Addr // of the node, primary first
	// Allocatable is what downward-API limits default to.
	Allocatable func() corev1.ResourceList
}

// Variables are environment variables in the order of their first setting.
type Variables struct {
	order []string
	value map[string]string
}

// List returns them as a process is given them, NAME=value.
func (v *Variables) List() []string {
	out := make([]string, 0, len(v.order))
	for _, n := range v.order {
		out = append(out, n+"="+v.value[n])
	}
	return out
}

// Lookup returns the value of one.
func (v *Variables) Lookup(name string) (string, bool) {
	value, ok := v.value[name]
	return value, ok
}

func (v *Variables) set(name, value string) {
	if _, ok := v.value[name]; !ok {
		v.order = append(v.order, name)
	}
	v.value[name] = value
}

// Of returns a container's variables in order: those of services first, then envFrom, then env, later ones
// prevailing. ips are the pod's own addresses; references to what is not there are errors in upstream's words.
func (n *Node) Of(ctx context.Context, pod *corev1.Pod, c *corev1.Container, ips []netip.Addr) (*Variables, error) {
	vars := &Variables{value: map[string]string{}}
	for _, from := range c.EnvFrom {
		if err := n.envFrom(ctx, pod, from, vars); err != nil {
			return nil, err
		}
	}
	services := n.serviceVariables(pod)
	for i := range c.Env {
		e := &c.Env[i]
		if e.ValueFrom == nil {
			vars.set(e.Name, Expand(e.Value, func(name string) (string, bool) {
				if v, ok := vars.Lookup(name); ok {
					return v, true
				}
				return services.Lookup(name)
			}))
			continue
		}
		v, ok, err := n.valueFrom(ctx, pod, c, e.ValueFrom, ips)
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

func (n *Node) envFrom(ctx context.Context, pod *corev1.Pod, from corev1.EnvFromSource, vars *Variables) error {
	var data map[string]string
	switch {
	case from.ConfigMapRef != nil:
		cm, err := n.Objects.ConfigMap(ctx, pod.Namespace, from.ConfigMapRef.Name)
		if err != nil {
			if apierrors.IsNotFound(err) && ptr.Deref(from.ConfigMapRef.Optional, false) {
				return nil
			}
			return objectError("configmap", from.ConfigMapRef.Name, err)
		}
		data = cm.Data
	case from.SecretRef != nil:
		s, err := n.Objects.Secret(ctx, pod.Namespace, from.SecretRef.Name)
		if err != nil {
			if apierrors.IsNotFound(err) && ptr.Deref(from.SecretRef.Optional, false) {
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

// valueFrom resolves one reference. ok is false for an optional one that leads nowhere.
func (n *Node) valueFrom(ctx context.Context, pod *corev1.Pod, c *corev1.Container, src *corev1.EnvVarSource, ips []netip.Addr) (v string, ok bool, err error) {
	switch {
	case src.FieldRef != nil:
		v, err := n.podField(pod, src.FieldRef.FieldPath, ips)
		return v, err == nil, err
	case src.ResourceFieldRef != nil:
		of := c
		if name := src.ResourceFieldRef.ContainerName; name != "" {
			if of = containers.Named(&pod.Spec, name); of == nil {
				return "", false, fmt.Errorf("container %q not found in pod %s/%s", name, pod.Namespace, pod.Name)
			}
		}
		v, err := downward.Resource(src.ResourceFieldRef, pod, of, n.Allocatable())
		return v, err == nil, err
	case src.ConfigMapKeyRef != nil:
		return n.configMapKey(ctx, pod.Namespace, src.ConfigMapKeyRef)
	case src.SecretKeyRef != nil:
		return n.secretKey(ctx, pod.Namespace, src.SecretKeyRef)
	case src.FileKeyRef != nil:
		return n.fileKey(ctx, pod, c, src.FileKeyRef)
	}
	return "", false, nil
}

func (n *Node) configMapKey(ctx context.Context, namespace string, ref *corev1.ConfigMapKeySelector) (v string, ok bool, err error) {
	cm, err := n.Objects.ConfigMap(ctx, namespace, ref.Name)
	if err != nil {
		if apierrors.IsNotFound(err) && ptr.Deref(ref.Optional, false) {
			return "", false, nil
		}
		return "", false, objectError("configmap", ref.Name, err)
	}
	v, ok = cm.Data[ref.Key]
	if !ok && !ptr.Deref(ref.Optional, false) {
		return "", false, fmt.Errorf("couldn't find key %v in ConfigMap %v/%v", ref.Key, namespace, ref.Name)
	}
	return v, ok, nil
}

func (n *Node) secretKey(ctx context.Context, namespace string, ref *corev1.SecretKeySelector) (v string, ok bool, err error) {
	s, err := n.Objects.Secret(ctx, namespace, ref.Name)
	if err != nil {
		if apierrors.IsNotFound(err) && ptr.Deref(ref.Optional, false) {
			return "", false, nil
		}
		return "", false, objectError("secret", ref.Name, err)
	}
	value, ok := s.Data[ref.Key]
	if !ok && !ptr.Deref(ref.Optional, false) {
		return "", false, fmt.Errorf("couldn't find key %v in Secret %v/%v", ref.Key, namespace, ref.Name)
	}
	return string(value), ok, nil
}

// podField resolves a downward-API field, also those that only the node knows.
func (n *Node) podField(pod *corev1.Pod, path string, ips []netip.Addr) (string, error) {
	if pod.Spec.HostNetwork {
		ips = n.IPs
	}
	switch path {
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return first(n.IPs), nil
	case "status.hostIPs":
		return join(n.IPs), nil
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

// serviceVariables are the variables of the namespace's services, in the manner of Docker links; those of
// the API server's service come always.
func (n *Node) serviceVariables(pod *corev1.Pod) *Variables {
	vars := &Variables{value: map[string]string{}}
	const master = "kubernetes"
	for _, s := range n.Objects.Services(corev1.NamespaceDefault) {
		if s.Name == master {
			addService(vars, s)
		}
	}
	if !ptr.Deref(pod.Spec.EnableServiceLinks, true) {
		return vars
	}
	for _, s := range n.Objects.Services(pod.Namespace) {
		addService(vars, s)
	}
	return vars
}

func addService(vars *Variables, s *corev1.Service) {
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

// objectError turns the API's not-found error into the wording that pods' statuses carry.
func objectError(kind, name string, err error) error {
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("%s %q not found", kind, name)
	}
	return err
}
