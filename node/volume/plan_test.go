package volume

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestPlanExpansion(t *testing.T) {
	const pending, infeasible = corev1.PersistentVolumeClaimNodeResizePending, corev1.PersistentVolumeClaimNodeResizeInfeasible
	for _, tc := range []struct {
		name                          string
		node, volume, claim, allocate string // sizes: on this node, of the volume, in the claim's status, allocated
		state                         corev1.ClaimResourceStatus
		modes                         []corev1.PersistentVolumeAccessMode
		annotations                   map[string]string
		size                          string
		done                          bool
	}{
		{name: "at rest", node: "1Gi", volume: "1Gi", claim: "1Gi"},
		{name: "a resizer from before there was recovery", node: "1Gi", volume: "2Gi", claim: "1Gi", size: "2Gi"},
		{name: "the controller is not done", node: "1Gi", volume: "2Gi", claim: "1Gi", allocate: "2Gi", state: corev1.PersistentVolumeClaimControllerResizeInProgress},
		{name: "the node's turn", node: "1Gi", volume: "2Gi", claim: "1Gi", allocate: "2Gi", state: pending, size: "2Gi"},
		{name: "given up", node: "1Gi", volume: "2Gi", claim: "1Gi", allocate: "2Gi", state: infeasible},
		{name: "less is allocated than the volume has", node: "1Gi", volume: "3Gi", claim: "1Gi", allocate: "2Gi", state: pending, size: "2Gi"},
		{name: "another node was first", node: "1Gi", volume: "2Gi", claim: "2Gi", allocate: "2Gi", modes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}, size: "2Gi", done: true},
		{name: "another node was first, and that is enough", node: "1Gi", volume: "2Gi", claim: "2Gi", allocate: "2Gi", modes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
			annotations: map[string]string{expansionNotRequired: "true"}},
		{name: "nothing was left to nodes", node: "1Gi", volume: "2Gi", claim: "2Gi", allocate: "2Gi"},
	} {
		list := func(size string) corev1.ResourceList {
			if size == "" {
				return nil
			}
			return corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}
		}
		claim := &corev1.PersistentVolumeClaim{}
		claim.Annotations, claim.Spec.AccessModes = tc.annotations, tc.modes
		claim.Status.Capacity, claim.Status.AllocatedResources = list(tc.claim), list(tc.allocate)
		if tc.state != "" {
			claim.Status.AllocatedResourceStatuses = map[corev1.ResourceName]corev1.ClaimResourceStatus{corev1.ResourceStorage: tc.state}
		}
		pv := &corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{Capacity: list(tc.volume)}}
		e := planExpansion(claim, pv, resource.MustParse(tc.node))
		want := resource.Quantity{}
		if tc.size != "" {
			want = resource.MustParse(tc.size)
		}
		if e.size.Cmp(want) != 0 || e.done != tc.done {
			t.Errorf("%s: %+v, want size %q, done %v", tc.name, e, tc.size, tc.done)
		}
	}
}

func TestPageSize(t *testing.T) {
	pod := podWith()
	ask := func(names ...corev1.ResourceName) {
		pod.Spec.Containers[0].Resources.Requests = corev1.ResourceList{}
		for _, n := range names {
			pod.Spec.Containers[0].Resources.Requests[n] = resource.MustParse("1Gi")
		}
	}
	for _, tc := range []struct {
		asked        []corev1.ResourceName
		medium, want string
		err          string
	}{
		{[]corev1.ResourceName{"hugepages-2Mi"}, "HugePages", "2Mi", ""},
		{[]corev1.ResourceName{"hugepages-2Mi", "hugepages-1Gi"}, "HugePages-1Gi", "1Gi", ""},
		{[]corev1.ResourceName{"hugepages-2Mi", "hugepages-1Gi"}, "HugePages", "", "medium: HugePages can't be used if container requests multiple huge page sizes"},
		{[]corev1.ResourceName{"cpu"}, "HugePages", "", "medium HugePages: hugePages storage requested, but there is no resource request for huge pages"},
		{[]corev1.ResourceName{"hugepages-2Mi"}, "HugePages-1Gi", "", "medium HugePages-1Gi: hugePages storage requested, but there is no resource request for huge pages"},
	} {
		ask(tc.asked...)
		got, err := pageSize(pod, corev1.StorageMedium(tc.medium))
		if (err == nil) != (tc.err == "") || (err != nil && err.Error() != tc.err) || (err == nil && got.String() != tc.want) {
			t.Errorf("%v of %v: %s, %v", tc.medium, tc.asked, got.String(), err)
		}
	}
}
