package pipeline

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"

	"clipper/api"
)

// TestStoredForm holds what clients are shown after a write to what they are shown once it has been read back.
func TestStoredForm(t *testing.T) {
	for _, test := range []struct {
		into api.Object
		text string
	}{
		{&rbacv1.Role{}, `{"rules":[]}`},
		{&rbacv1.Role{}, `{"rules":[{"verbs":[],"apiGroups":[]}]}`},
		{&discoveryv1.EndpointSlice{}, `{"endpoints":[]}`},
		{&discoveryv1.EndpointSlice{}, `{"endpoints":[{"addresses":[]}],"ports":[]}`},
		{&storagev1.CSINode{}, `{"spec":{"drivers":[]}}`},
		{&storagev1.CSINode{}, `{"spec":{"drivers":[{"topologyKeys":[]}]}}`},
		{&corev1.ConfigMap{}, `{"binaryData":{"a":null,"b":"","c":"eA=="}}`},
		{&corev1.Pod{}, `{"spec":{"containers":[],"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[]}}}}}`},
	} {
		if err := json.Unmarshal([]byte(test.text), test.into); err != nil {
			t.Fatal(err)
		}
		back := test.into.DeepCopyObject().(api.Object)
		stored, err := test.into.(message).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		back.(interface{ Reset() }).Reset()
		if err := back.(interface{ Unmarshal([]byte) error }).Unmarshal(stored); err != nil {
			t.Fatal(err)
		}
		storedForm(test.into)
		got, want := shown(t, test.into), shown(t, back)
		if got != want {
			t.Errorf("%s: the answer is\n%s\nand later\n%s", test.text, got, want)
		}
	}
}

func shown(t *testing.T, obj api.Object) string {
	t.Helper()
	text, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
