package node

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestForbiddenSysctl(t *testing.T) {
	unsafe := []string{"kernel.msg*", "net.core.somaxconn"}
	for _, tc := range []struct {
		name             string
		hostNet, hostIPC bool
		want             string
	}{
		{name: "kernel.shm_rmid_forced"},
		{name: "net/ipv4/tcp_syncookies"},
		{name: "net.core.somaxconn"},
		{name: "kernel.msgmax"},
		{name: "kernel.sem", want: `forbidden sysctl: "kernel.sem" not allowlisted`},
		{name: "net.core.somaxconn2", want: `forbidden sysctl: "net.core.somaxconn2" not allowlisted`},
		{name: "net.ipv4.tcp_syncookies", hostNet: true, want: `forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host Net enabled`},
		{name: "kernel.msgmax", hostIPC: true, want: `forbidden sysctl: "kernel.msgmax" not allowed with host IPC enabled`},
		{name: "kernel.msgmax", hostNet: true},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{HostNetwork: tc.hostNet, HostIPC: tc.hostIPC,
			SecurityContext: &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: tc.name}}}}}
		if got := forbiddenSysctl(pod, unsafe); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestAppArmorIsRefusedWithoutIt(t *testing.T) {
	confined := corev1.SecurityContext{AppArmorProfile: &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}}
	free := corev1.SecurityContext{AppArmorProfile: &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}}
	pod := func(sc ...corev1.SecurityContext) *corev1.Pod {
		p := &corev1.Pod{}
		for i := range sc {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{SecurityContext: &sc[i]})
		}
		return p
	}
	for _, tc := range []struct {
		pod     *corev1.Pod
		enabled bool
		want    string
	}{
		{pod(), false, ""},
		{pod(free), false, ""},
		{pod(free, confined), true, ""},
		{pod(free, confined), false, "Cannot enforce AppArmor: AppArmor is not enabled on the host"},
	} {
		if got := unenforceable(tc.pod, tc.enabled); got != tc.want {
			t.Errorf("%+v: got %q", tc.pod.Spec.Containers, got)
		}
	}
}
