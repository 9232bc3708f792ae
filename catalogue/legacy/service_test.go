package legacy_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"clipper/catalogue/all"
	"clipper/catalogue/legacy"
)

// TestService: services as Kubernetes before 1.20 has stored them, and how a server shows them since.
func TestService(t *testing.T) {
	selector := map[string]string{"app": "web"}
	for _, tt := range []struct {
		name    string
		primary corev1.IPFamily
		spec    corev1.ServiceSpec
		want    string // addresses, families, policy
	}{
		{"one address", "IPv4", corev1.ServiceSpec{ClusterIP: "10.0.0.7"}, "10.0.0.7 IPv4 SingleStack"},
		{"of the other family", "IPv4", corev1.ServiceSpec{ClusterIP: "fd00::7"}, "fd00::7 IPv6 SingleStack"},
		{"two addresses without families", "IPv4", corev1.ServiceSpec{ClusterIP: "fd00::7", ClusterIPs: []string{"fd00::7", "10.0.0.7"}}, "fd00::7,10.0.0.7 IPv6,IPv4 RequireDualStack"},
		{"headless", "IPv6", corev1.ServiceSpec{ClusterIP: "None", Selector: selector}, "None IPv6 SingleStack"},
		{"headless without selector", "IPv4", corev1.ServiceSpec{ClusterIP: "None"}, "None IPv4,IPv6 RequireDualStack"},
		{"headless without selector, IPv6 first", "IPv6", corev1.ServiceSpec{ClusterIP: "None"}, "None IPv6,IPv4 RequireDualStack"},
		{"ExternalName", "IPv4", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "a.example"}, "  "},
		{"no address yet", "IPv4", corev1.ServiceSpec{}, "  "},
		{"of today", "IPv4", corev1.ServiceSpec{ClusterIP: "10.0.0.7", ClusterIPs: []string{"10.0.0.7"}, IPFamilies: []corev1.IPFamily{"IPv4"},
			IPFamilyPolicy: new(corev1.IPFamilyPolicyPreferDualStack)}, "10.0.0.7 IPv4 PreferDualStack"},
	} {
		up := legacy.Upgrades(all.Resources(), tt.primary)[corev1.SchemeGroupVersion.WithKind("Service")]
		out, err := up(&corev1.Service{Spec: tt.spec})
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		s := out.(*corev1.Service).Spec
		policy := corev1.IPFamilyPolicy("")
		if s.IPFamilyPolicy != nil {
			policy = *s.IPFamilyPolicy
		}
		families := strings.Trim(strings.ReplaceAll(fmt.Sprint(s.IPFamilies), " ", ","), "[]")
		if got := fmt.Sprintf("%s %s %s", strings.Join(s.ClusterIPs, ","), families, policy); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestPaths: what is stored lies where upstream puts it. That is below the resource's name but for these.
func TestPaths(t *testing.T) {
	unusual := map[string]string{
		"services":                  "services/specs",
		"endpoints":                 "services/endpoints",
		"nodes":                     "minions",
		"replicationcontrollers":    "controllers",
		"ingresses":                 "ingress",
		"customresourcedefinitions": "apiextensions.k8s.io/customresourcedefinitions",
		"apiservices":               "apiregistration.k8s.io/apiservices",
	}
	stored := 0
	for _, r := range all.Resources() {
		if r.Prefix == "" {
			continue
		}
		stored++
		want, ok := unusual[r.Name]
		if !ok {
			want = r.Name
		}
		if r.Prefix != want {
			t.Errorf("%s lies below %s, want %s", r.GroupResource(), r.Prefix, want)
		}
	}
	if stored < 50 {
		t.Errorf("%d resources only", stored)
	}
}
