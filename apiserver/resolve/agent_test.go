package resolve

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestPreference: the first type that a node has an address of wins, in the order of the preference.
func TestPreference(t *testing.T) {
	node := &corev1.Node{Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
		{Type: corev1.NodeHostName, Address: "n1"}, {Type: corev1.NodeExternalIP, Address: "192.0.2.1"}, {Type: corev1.NodeInternalIP, Address: "10.0.0.1"},
	}}}
	for _, tt := range []struct {
		p    Preference
		want string
	}{
		{nil, "https://10.0.0.1:10250"},
		{Preference{corev1.NodeExternalIP, corev1.NodeInternalIP}, "https://192.0.2.1:10250"},
		{Preference{corev1.NodeInternalDNS, corev1.NodeHostName}, "https://n1:10250"},
		{Preference{corev1.NodeExternalDNS}, ""},
	} {
		got, err := tt.p.Agent(node)
		if tt.want == "" && err == nil || tt.want != "" && (err != nil || got.String() != tt.want) {
			t.Errorf("%v: %v %v, want %s", tt.p, got, err, tt.want)
		}
	}
}
