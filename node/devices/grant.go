package devices

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	plugin "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"clipper/node/runtime"
)

// Apply adds to a container's specification what its devices take, and tells their plug-ins that it is about to
// start, if they want to know.
func (m *Manager) Apply(ctx context.Context, pod *corev1.Pod, c *corev1.Container, spec *runtime.Container) error {
	m.mu.Lock()
	grants := maps.Clone(m.granted[pod.UID][c.Name])
	endpoints := map[string]*endpoint{}
	for name := range grants {
		if r := m.resources[name]; r != nil {
			endpoints[name] = r.endpoint
		}
	}
	m.mu.Unlock()
	names := slices.Sorted(maps.Keys(grants))
	for _, name := range names {
		if err := endpoints[name].preStart(ctx, grants[name]); err != nil {
			return err
		}
	}
	var env []string
	var mounts []runtime.Mount
	for _, name := range names {
		answer := grants[name].response
		for _, key := range slices.Sorted(maps.Keys(answer.Envs)) {
			env = append(env, key+"="+answer.Envs[key])
		}
		for _, mount := range answer.Mounts {
			mounts = append(mounts, runtime.Mount{Host: m.cfg.Dir.Host(mount.HostPath), Container: mount.ContainerPath, ReadOnly: mount.ReadOnly})
		}
		addDevices(spec, answer)
	}
	spec.Env = append(firstOf(env, keyOf), spec.Env...) // the container's own win
	spec.Mounts = append(firstOf(mounts, func(m runtime.Mount) string { return m.Container }), spec.Mounts...)
	spec.Devices = firstOf(spec.Devices, func(d runtime.Device) string { return d.Container })
	return nil
}

func keyOf(variable string) string {
	key, _, _ := strings.Cut(variable, "=")
	return key
}

// addDevices adds nodes, annotations and CDI names.
func addDevices(spec *runtime.Container, answer *plugin.ContainerAllocateResponse) {
	for _, d := range answer.Devices {
		spec.Devices = append(spec.Devices, runtime.Device{Host: d.HostPath, Container: d.ContainerPath, Permissions: d.Permissions})
	}
	for key, value := range answer.Annotations {
		if spec.Annotations == nil {
			spec.Annotations = map[string]string{}
		}
		if _, ok := spec.Annotations[key]; !ok {
			spec.Annotations[key] = value
		}
	}
	for _, d := range answer.CdiDevices {
		if !slices.Contains(spec.CDIDevices, d.Name) {
			spec.CDIDevices = append(spec.CDIDevices, d.Name)
		}
	}
}

// firstOf keeps the first item of each key.
func firstOf[T any](items []T, key func(T) string) []T {
	seen := map[string]bool{}
	return slices.DeleteFunc(items, func(item T) bool {
		again := seen[key(item)]
		seen[key(item)] = true
		return again
	})
}

// preStart tells a plug-in that devices are about to be used.
func (e *endpoint) preStart(ctx context.Context, g *grant) error {
	if e == nil || !e.options.GetPreStartRequired() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, preStartTimeout)
	defer cancel()
	if _, err := e.client.PreStartContainer(ctx, &plugin.PreStartContainerRequest{DevicesIds: sets.List(g.all())}); err != nil {
		return fmt.Errorf("device plugin PreStartContainer rpc failed with err: %w", err)
	}
	return nil
}
