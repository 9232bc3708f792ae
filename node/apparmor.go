package node

import (
	"os"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
)

// appArmorEnabled reports whether the kernel confines by AppArmor profiles.
var appArmorEnabled = sync.OnceValue(func() bool {
	enabled, _ := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	return len(enabled) > 0 && enabled[0] == 'Y'
})

// unenforceable says why the AppArmor profiles that a pod wants cannot be had, "" if they can.
func unenforceable(pod *corev1.Pod, enabled bool) string {
	if enabled {
		return ""
	}
	wants := func(p *corev1.AppArmorProfile) bool {
		return p != nil && p.Type != corev1.AppArmorProfileTypeUnconfined
	}
	confined := pod.Spec.SecurityContext != nil && wants(pod.Spec.SecurityContext.AppArmorProfile)
	confined = confined || slices.ContainsFunc(slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers), func(c corev1.Container) bool {
		return c.SecurityContext != nil && wants(c.SecurityContext.AppArmorProfile)
	})
	if confined {
		return "Cannot enforce AppArmor: AppArmor is not enabled on the host"
	}
	return ""
}
