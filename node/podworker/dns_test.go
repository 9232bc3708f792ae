package podworker

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestResolverLimits(t *testing.T) {
	many := make([]string, maxSearch+1)
	for i := range many {
		many[i] = fmt.Sprintf("d%d.example", i)
	}
	long := strings.Repeat("x", 250)
	for _, tc := range []struct {
		name            string
		have            resolver
		search, servers int
		told            string // the beginnings of what the user is told
	}{
		{"little", resolver{search: []string{"a", "b"}, nameservers: []string{"1", "2", "3"}}, 2, 3, ""},
		{"too many domains", resolver{search: many}, maxSearch, 0, "Search"},
		{"one that is too long", resolver{search: []string{"a", strings.Repeat("x", 254)}}, 1, 0, "Search"},
		{"too long together", resolver{search: []string{long, long, long, long, long, long, long, long, long}}, 8, 0, "Search"},
		{"too many servers", resolver{nameservers: []string{"1", "2", "3", "4"}}, 0, 3, "Nameserver"},
		{"both", resolver{search: many, nameservers: []string{"1", "2", "3", "4"}}, maxSearch, 3, "Search Nameserver"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, omitted := tc.have.limited()
			if len(got.search) != tc.search || len(got.nameservers) != tc.servers {
				t.Errorf("%d domains and %d servers, want %d and %d", len(got.search), len(got.nameservers), tc.search, tc.servers)
			}
			var told []string
			for _, o := range omitted {
				told = append(told, o[:strings.IndexByte(o, ' ')])
			}
			if strings.Join(told, " ") != tc.told {
				t.Errorf("told %q, want %q", omitted, tc.told)
			}
		})
	}
}

func TestKernelHostname(t *testing.T) {
	yes := true
	pod := func(name, host, sub string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns"}, Spec: corev1.PodSpec{Hostname: host, Subdomain: sub, SetHostnameAsFQDN: &yes}}
	}
	for _, tc := range []struct {
		pod         *corev1.Pod
		want, fault string
	}{
		{pod("p", "", ""), "p", ""},
		{pod("p", "h", "s"), "h.s.ns.svc.cluster.local", ""},
		{pod("p", strings.Repeat("h", 40), "sub"), "", "FQDN " + strings.Repeat("h", 40) + ".sub.ns.svc.cluster.local is too long (64 characters is the max, 65 characters requested)"},
	} {
		got, err := kernelHostname(tc.pod, "cluster.local")
		if got != tc.want || (tc.fault == "") != (err == nil) || err != nil && !strings.HasSuffix(err.Error(), tc.fault) {
			t.Errorf("%s: %q, %v", tc.pod.Name, got, err)
		}
	}
}

func TestWhatContainersMayOnlyRead(t *testing.T) {
	yes := true
	for name, tc := range map[string]struct {
		source corev1.VolumeSource
		want   bool
	}{
		"emptyDir":       {corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, false},
		"configMap":      {corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}}, true},
		"secret":         {corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{}}, true},
		"projected":      {corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{}}, true},
		"downwardAPI":    {corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{}}, true},
		"claim":          {corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{}}, false},
		"claim, marked":  {corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ReadOnly: true}}, true},
		"driver":         {corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{}}, false},
		"driver, marked": {corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{ReadOnly: &yes}}, true},
	} {
		if got := isReadOnly(&corev1.Volume{VolumeSource: tc.source}); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
